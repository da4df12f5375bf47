"""Experts: the way that networks take while they learn from the real images, kept epoch by epoch.

Cazenavette et al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022 (arXiv 2203.11932): plain
SGD without momentum or decay, under Siamese augmentation; a snapshot of the fresh network and one after every epoch.

Every epoch has a random stream of its own and SGD has no momentum, so a trajectory is continued from its last
snapshot as if it had never stopped: a job that needs more epochs, or one that was interrupted, trains what is missing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddcore.errors import ConfigurationError, DataError
from ddcore.machine.capacity import format_bytes
from ddcore.nets.functional import Params
from ddcore.pretrained.store import NetworkStore
from ddcore.run.randomness import stream_seed
from ddcore.spec import ExpertsConfig
from ddcore.training import trainer

if TYPE_CHECKING:
    from ddcore.pretrained.stage_networks import Starts
    from ddcore.run.context import Run


class Experts:
    """Trajectories of the run's own network, trained in the pretraining phase or read from the folder of jobs.

    A snapshot is read when it is asked for: 100 experts of 40 epochs would fill memory. Without a folder they stay
    in memory.

    Args:
        config: how many, and the training recipe.
        epochs: last epoch that will be asked for, at least 1.
        run: the run that needs them.
        starts: networks that they start from, at least as many, in place of fresh ones: experts of a later stage.
    """

    def __init__(self, config: ExpertsConfig, epochs: int, run: Run, starts: Starts | None = None) -> None:
        self.config = config
        self._starts = starts
        self.epochs = epochs
        self._run = run
        self._in_memory: dict[int, dict[str, Tensor]] = {}
        self._store = NetworkStore(
            "expert",
            run,
            network=run.spec.network.model_dump(mode="json"),
            recipe=config.model_dump(mode="json", exclude={"count", "epochs"}),
            augmentation=run.strategy,
            **({} if starts is None else {"starts": starts.digest()}),
        )

    def __len__(self) -> int:
        return self.config.count

    def digest(self) -> str:
        """SHA-256 of everything that the snapshots depend on except the number of the expert and of the epoch."""
        return self._store.digest()

    def prepare(self) -> None:
        """Have every expert go as far as will be asked for."""
        missing = [index for index in range(len(self)) if self._length(index) <= self.epochs]
        if not missing:
            return
        random.SystemRandom().shuffle(missing)  # so that jobs share the work; no number depends on it
        total = len(missing) * self.epochs
        self._run.callback.on_phase("pretraining", total)
        for place, index in enumerate(missing):
            before = place * self.epochs
            self._run.callback.on_progress(before, total)
            length = self._length(index)
            if length <= self.epochs:  # no other job has trained it meanwhile
                self._train(index, length, partial(self._report, before, total))
        self._run.callback.on_progress(total, total)

    def bytes_to_come(self) -> int:
        """What the snapshots that are still to be made take: of the cache's disk, or of memory without a cache."""
        return sum(self._missing())

    def check_room(self, beside: int = 0) -> None:
        """Refuse trajectories that do not fit where they are to be kept.

        Args:
            beside: bytes that other networks of the run are still going to take there.

        Raises:
            ConfigurationError: with what is needed, what is free, and how many experts fit.
        """
        (free, where), functional = self._store.room(), self._run.functional
        missing, left = self._missing(), max(0, free - beside)
        if sum(missing) <= left:
            return
        taken = f", {format_bytes(beside)} of which other networks of the job need" if beside else ""
        most = sum(needed <= left for needed in accumulate(missing))
        way_out = f"choose an `experts.count` of at most {most}, or" if most else "choose"
        raise ConfigurationError(
            f"`method.experts.count` is {len(self)}, and the snapshots of {self.epochs} epochs that have not been made "
            f"yet need {format_bytes(sum(missing))} ({functional.parameter_count:,} parameters each), but {where} "
            f"{format_bytes(free)}{taken}; {way_out} a smaller `method.max_start` or `network`, or make room"
        )

    def snapshot(self, index: int, epoch: int) -> Params:
        """Parameters and buffers of an expert after an epoch, 0 for the fresh network; constants on the device.

        Raises:
            DataError: the file that :meth:`prepare` left has gone or was damaged since.
        """
        if self._run.cache is None:
            return _of_epoch(self._in_memory[index], epoch)
        found = self._store.read(index, _prefix(epoch))
        if not found:
            raise DataError(
                f"epoch {epoch} of expert {index} can no longer be read from the cache; run the job again: it goes on "
                "from its checkpoint and trains what is missing"
            )
        return found

    def _missing(self) -> list[int]:
        """Bytes of the snapshots that each expert lacks."""
        size = self._run.functional.parameter_bytes
        return [max(0, self.epochs + 1 - self._length(index)) * size for index in range(len(self))]

    def _length(self, index: int) -> int:
        """Snapshots there are of an expert."""
        names = self._in_memory.get(index) or self._store.names(index)
        return len({name.partition("/")[0] for name in names})

    def _report(self, before: int, total: int, epoch: int) -> None:
        self._run.callback.on_progress(before + epoch, total)

    def _train(self, index: int, length: int, on_epoch: Callable[[int], None]) -> None:
        """Go on from the last of ``length`` snapshots; what was reached is kept whatever ends the training."""
        run, device = self._run, self._run.compute.device
        held = self._in_memory.get(index) or (self._store.read(index) if length else None) or {}
        if not held:
            held, length = _named(0, self._first(index)), 1
        params = {name: value.clone() for name, value in _of_epoch(held, length - 1).items()}
        images, labels = run.dataset.train.images.to(device), run.dataset.train.labels.to(device)
        recipe = trainer.Recipe(
            epochs=1,
            lr=self.config.lr,
            momentum=0.0,
            weight_decay=0.0,
            batch_size=self.config.batch_size,
            strategy=run.strategy,
        )
        try:
            for epoch in range(length, self.epochs + 1):
                trainer.train(
                    run.functional,
                    params,
                    images,
                    labels,
                    recipe,
                    torch.Generator().manual_seed(stream_seed(index, f"expert/{epoch}")),
                    normalize=run.dataset.normalize,
                    check_stop=run.check_stop,
                )
                held |= _named(epoch, params)
                on_epoch(epoch)
        finally:
            self._keep(index, held)

    def _first(self, index: int) -> Params:
        """Snapshot 0: a fresh network, or one that has learned the earlier stages."""
        if self._starts is not None:
            return self._starts[index]
        generator = torch.Generator(self._run.compute.device).manual_seed(stream_seed(index, "expert"))
        return self._run.functional.new(generator)

    def _keep(self, index: int, held: dict[str, Tensor]) -> None:
        """Keep a trajectory; the snapshots that another job has kept meanwhile stay as they are."""
        if self._run.cache is None:
            self._in_memory[index] = held
            return
        earlier = self._store.read(index) or {}
        if not held.keys() <= earlier.keys():
            self._store.write(index, {**held, **earlier})


def _prefix(epoch: int) -> str:
    return f"{epoch:04d}/"


def _named(epoch: int, params: Params) -> dict[str, Tensor]:
    """A copy of a network under the names of an epoch."""
    return {_prefix(epoch) + name: value.detach().clone() for name, value in params.items()}


def _of_epoch(tensors: dict[str, Tensor], epoch: int) -> Params:
    prefix = _prefix(epoch)
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
