"""Networks that have learned the earlier stages of a set: where those of a stage start.

SeqMatch (Du, Shi & Zhou, NeurIPS 2023, arXiv 2311.01570) and PDD (Chen et al., ICLR 2024, arXiv 2310.06982) condition
each stage on networks that were trained on S_1, then on S_1 and S_2, and so on, each at the learning rate learned with
it and through a whole schedule. Network i of a stage goes on from network i of the stage before, so every stage adds
one training to a chain; the chain begins with the weights that expert i begins with. The networks are made once a stage
and then read, at every step if need be.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from typing_extensions import override

from ddcore.nets.functional import Params
from ddcore.pretrained.pool import Demand, Pool
from ddcore.pretrained.store import NetworkStore
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import EvaluationConfig
from ddcore.spec.protocols import Schedule
from ddcore.training import trainer
from ddcore.training.recipes import recipe_of
from ddcore.training.trainer import OnEpoch, Recipe


@dataclass(frozen=True, eq=False)
class StagesSoFar:
    """What networks are trained on before the next stage of a set: all its stages so far.

    Attributes:
        images: (N, C, H, W) normalised, constants.
        labels: (N,) int64.
        lr: learning rate.
    """

    images: Tensor
    labels: Tensor
    lr: float

    def digest(self) -> str:
        """SHA-256 of images and rate; the labels follow from their number."""
        digest = hashlib.sha256(self.images.detach().cpu().contiguous().numpy().tobytes())
        digest.update(repr(self.lr).encode())
        return digest.hexdigest()


class StageNetworks(Pool):
    """A pool of networks that were all trained on the stages so far.

    ``networks[index]`` is one of them: from the cache or memory, else trained; always the same numbers.

    Args:
        count: how many.
        stages: what they were trained on last.
        epochs: E of the schedule of a training, see ``evaluation.schedule``: E + 1 passes, the rate drops half way.
        run: the run that needs them.
        before: the pool that the trainings before this one have made, at least as large; ``None`` for fresh networks.
        schedule: how the rate drops half way.
    """

    def __init__(
        self,
        count: int,
        stages: StagesSoFar,
        epochs: int,
        run: Run,
        before: StageNetworks | None = None,
        schedule: Schedule = "drop_once",
    ) -> None:
        self._stages = stages
        self._before = before
        self._recipe = stage_recipe(run, epochs, stages.lr, schedule)
        self._in_memory: dict[int, Params] = {}
        store = NetworkStore(
            "start",
            run,
            network=run.spec.network.model_dump(mode="json"),
            augmentation=run.strategy,
            lesson=stages.digest(),
            epochs=epochs,
            **({} if schedule == "drop_once" else {"schedule": schedule}),
            before=None if before is None else before.digest(),
        )
        super().__init__(count, self._recipe.epochs, run, store, run.functional)

    def __getitem__(self, index: int) -> Params:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no network {index} in a pool of {len(self)}")
        return self._in_memory.get(index) or self._store.read(index) or self._train(index)

    def draw(self, generator: Generator) -> Params:
        """One network, drawn uniformly by a generator on the CPU; constants."""
        return self[int(torch.randint(len(self), (), generator=generator))]

    @override
    def _demand(self) -> Demand:
        size = self.functional.parameter_bytes
        return Demand(
            field="method.pool",
            sizes=[0 if self._is_complete(index) else size for index in range(len(self))],
            contents="those of its networks that have not been trained yet",
            smaller="a smaller `network`",
        )

    @override
    def _is_complete(self, index: int) -> bool:
        return index in self._in_memory or bool(self._store.names(index))

    @override
    def _train(self, index: int, on_epoch: OnEpoch | None = None) -> Params:
        run, stages = self._run, self._stages
        params = {name: value.clone() for name, value in self._untrained(index).items()}
        trainer.train(
            run.functional,
            params,
            stages.images,
            stages.labels,
            self._recipe,
            Generator().manual_seed(stream_seed(index, "start")),
            on_epoch=on_epoch,
            check_stop=run.check_stop,
        )
        if run.cache is None:
            self._in_memory[index] = params
            return params
        return self._store.keep_first(index, params)

    def _untrained(self, index: int) -> Params:
        """The network as it is before the training."""
        if self._before is not None:
            return self._before[index]
        return self._run.functional.new(Generator(self._run.compute.device).manual_seed(stream_seed(index, "expert")))


class Stageable(ABC):
    """A method whose networks can start where others have learned the earlier stages of the set."""

    @abstractmethod
    def start_from(self, networks: StageNetworks) -> None:
        """Train what the steps of a stage need, and have their networks start from there from now on.

        May be interrupted; nothing has changed then.
        """


def stage_recipe(run: Run, epochs: int, lr: float, schedule: Schedule) -> Recipe:
    """How networks are trained on the stages so far: as MTT scores (SGD with momentum and decay), on a schedule."""
    return recipe_of(EvaluationConfig(protocol="mtt", epochs=epochs, lr=lr, schedule=schedule), run.strategy)
