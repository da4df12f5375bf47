"""What all pretrained networks have in common: what is there, what is missing, its training, and room for it.

Networks are trained one at a time. A finished one is of use to others at once: an interrupted job goes on where it
was, and jobs that need the same networks at the same time train them in different orders and skip what another has
finished, without waiting for each other.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import TypeVar, cast

from ddcore.errors import ConfigurationError
from ddcore.machine.capacity import format_bytes
from ddcore.nets.functional import Functional
from ddcore.pretrained.store import NetworkStore
from ddcore.runtime.context import Run
from ddcore.training.trainer import OnEpoch


@dataclass(frozen=True)
class Demand:
    """What networks that have still to be trained need, and how a refusal speaks of it.

    Attributes:
        field: of the job, says how many networks there are.
        sizes: bytes that each of them still takes, in the order of their indices; 0 for those there are.
        contents: what takes these bytes, as the subject of "need".
        smaller: what else could be chosen smaller than ``field``.
    """

    field: str
    sizes: Sequence[int]
    contents: str
    smaller: str

    def check(self, store: NetworkStore, functional: Functional, beside: int = 0) -> None:
        """Refuse networks that do not fit where they are to be kept.

        Args:
            store: where that is.
            functional: their architecture.
            beside: bytes that other networks of the run are still going to take there.

        Raises:
            ConfigurationError: with what is needed, what is free, and how many networks fit.
        """
        (free, where), needed = store.room(), sum(self.sizes)
        left = max(0, free - beside)
        if needed <= left:
            return
        taken = f", {format_bytes(beside)} of which other networks of the job need" if beside else ""
        most = sum(total <= left for total in accumulate(self.sizes))
        way_out = f"choose a `{self.field}` of at most {most}, or" if most else "choose"
        raise ConfigurationError(
            f"`{self.field}` is {len(self.sizes)}, and {self.contents} need {format_bytes(needed)} "
            f"({functional.parameter_count:,} parameters each), but {where} {format_bytes(free)}{taken}; {way_out} "
            f"{self.smaller}, or make room"
        )


class Pool(ABC):
    """Networks of one kind by index, each of them trained once.

    Args:
        count: networks.
        epochs: that each of them is trained for; progress counts these.
        run: the run that needs them.
        store: where they are kept; without a folder that jobs share they stay in memory.
        functional: their architecture.
    """

    def __init__(self, count: int, epochs: int, run: Run, store: NetworkStore, functional: Functional) -> None:
        self._count = count
        self._epochs = epochs
        self._run = run
        self._store = store
        self.functional = functional

    def __len__(self) -> int:
        return self._count

    def digest(self) -> str:
        """SHA-256 of everything that the weights depend on except a network's place in the pool."""
        return self._store.digest()

    def prepare(self) -> None:
        """Have every network trained."""
        self._train_missing(range(len(self)))

    def bytes_to_come(self) -> int:
        """What the pool is still going to take: of the cache's disk, or of memory where there is no cache."""
        return sum(self._demand().sizes)

    def check_room(self, beside: int = 0) -> None:
        """Refuse a pool that does not fit where it is to be kept.

        Args:
            beside: bytes that other networks of the run are still going to take there.

        Raises:
            ConfigurationError: with what is needed, what is free, and the largest pool that fits.
        """
        self._demand().check(self._store, self.functional, beside)

    @abstractmethod
    def _demand(self) -> Demand:
        """What the pool is still going to take."""

    @abstractmethod
    def _is_complete(self, index: int) -> bool:
        """Whether a network is there, trained as far as it will be asked for."""

    @abstractmethod
    def _train(self, index: int, on_epoch: OnEpoch | None = None) -> object:
        """Train a network and keep it."""

    def _train_missing(self, indices: Iterable[int]) -> None:
        """Train those of some networks that are not there, and report how far that has come."""
        missing = [index for index in indices if not self._is_complete(index)]
        if not missing:
            return
        random.SystemRandom().shuffle(missing)  # so that jobs share the work; no number depends on it
        total = len(missing) * self._epochs
        self._run.callback.on_phase("pretraining", total)
        for place, index in enumerate(missing):
            report = partial(self._report, place * self._epochs, total)
            if self._is_complete(index):  # another job has trained it meanwhile
                report(self._epochs)
            else:
                self._train(index, report)

    def _report(self, before: int, total: int, epochs: int) -> None:
        self._run.callback.on_progress(before + epochs, total)


P = TypeVar("P", bound=Pool)


def shared(run: Run, key: Hashable, make: Callable[[], P]) -> P:
    """Pretrained networks of a run, one object however often they are asked for.

    Args:
        run: keeps a list of all that it is going to need, so that each finds room beside the others.
        key: what tells them from others.
        make: makes them, at first.

    Raises:
        ConfigurationError: they do not fit beside the others of the run.
    """
    if key not in run.pretrained:
        pool = make()
        pool.check_room(beside=sum(other.bytes_to_come() for other in run.pretrained.values()))
        run.pretrained[key] = pool
    return cast(P, run.pretrained[key])
