"""What moves the synthetic images: the interfaces of methods and regularisers.

An objective adds its gradient to the synthetic set and reports numbers; only the engine takes the
step. So every regulariser works with every method, and neither knows the other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import Tensor

from ddcore.errors import ConfigurationError
from ddcore.nets.functional import Functional, Params
from ddcore.runtime.checkpoint import Stateful
from ddcore.runtime.context import Run
from ddcore.spec import MethodConfig, RegularizerConfig
from ddcore.synthetic.set import SyntheticSet
from ddcore.synthetic.stages import Stages

Readings = dict[str, Tensor]
"""Scalars to report by metric name, still on the device so that a step need not wait for them."""

M = TypeVar("M", bound=MethodConfig)
R = TypeVar("R", bound=RegularizerConfig)


@dataclass(frozen=True)
class Networks:
    """Networks that a step trained, for regularisers that compare the two sides under networks of their own.

    Attributes:
        functional: the architecture of both.
        real: parameters of the network of the real images.
        synthetic: parameters of the student, trained on the synthetic images.
        pull_back: takes the slope of a loss in the student's parameters, by name, back through its training and adds
            it to the synthetic images. The student's learning rate is the method's own and stays out of it.
    """

    functional: Functional
    real: Params
    synthetic: Params
    pull_back: Callable[[Params], object]


@dataclass(frozen=True)
class Step:
    """What is fixed for one step of a run, seen by the method and by every regulariser.

    Methods subclass it with what they drew (networks, real rows, augmentation parameters).

    Attributes:
        index: steps taken before.
        synthetic: what is being learned.
        fresh_network: whether the method does not go on with the network that it trained in the step before;
            regularisers that keep their teacher while a method trains one network draw another one then.
    """

    index: int
    synthetic: SyntheticSet
    fresh_network: bool = field(default=True, kw_only=True)

    @property
    def networks(self) -> Networks | None:
        """Networks that this step trained; nothing for methods that train none (``MethodConfig.trains_networks``)."""
        return None


S = TypeVar("S", bound=Step)


class Producer(Stateful, ABC, Generic[M]):
    """What a synthetic set comes from, built for one run from its configuration: a :class:`Method` or a coreset.

    Raises:
        ConfigurationError: from the constructor, when this run cannot use it.
    """

    def __init__(self, config: M, run: Run) -> None:
        _refuse_the_impossible(config, run)
        self.config = config
        self.run = run

    @abstractmethod
    def start(self) -> SyntheticSet:
        """Images to start from, with the optimiser that the method prescribes; a coreset's are final."""

    def prepare(self) -> None:
        """Train what is needed before the images can be there (experts, teachers)."""

    def stages(self) -> Stages | None:
        """How the set is divided into stages that networks learn one after the other; not at all, by default."""
        return None


class Method(Producer[M], Generic[M, S]):
    """A distillation method: it learns the images, step by step."""

    def enter(self, index: int, synthetic: SyntheticSet) -> None:
        """Make ready for step ``index``, which a checkpoint may lie before; nothing, but where stages begin.

        May be interrupted, and then starts over when the run goes on: the state is changed last.
        """

    @abstractmethod
    def draw(self, index: int, synthetic: SyntheticSet) -> S:
        """Draw everything random of step ``index``."""

    @abstractmethod
    def backward(self, step: S) -> Readings:
        """Add dL/dS to the synthetic set; report at least ``loss/base``."""

    def advance(self, step: S) -> Readings | None:
        """Do the inner work that follows the image step.

        Returns:
            What it reports beside what :meth:`backward` did; nothing, by default.
        """

    def finished(self) -> bool:
        """Whether the run ends here, before ``config.iterations`` steps; never, by default."""
        return False


class Regularizer(Stateful, ABC, Generic[R]):
    """A term beside the method, built for one run from its configuration.

    Raises:
        ConfigurationError: from the constructor, when this run cannot use it.
    """

    def __init__(self, config: R, run: Run) -> None:
        _refuse_the_impossible(config, run)
        self.config = config
        self.run = run

    def prepare(self) -> None:
        """Train what the term needs before the first step."""

    @abstractmethod
    def backward(self, step: Step, weight: float) -> Readings:
        """Add ``weight`` times the gradient of the term to the synthetic set; report the unweighted term."""

    def advance(self, step: Step) -> None:
        """Do the inner work that follows the image step."""


def _refuse_the_impossible(config: MethodConfig | RegularizerConfig, run: Run) -> None:
    """Parsing a job refuses it already; this is for specifications that were put together otherwise."""
    for problem in config.impossible(run.spec):
        raise ConfigurationError(problem.detail)
