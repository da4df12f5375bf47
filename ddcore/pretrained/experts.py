"""Experts: the way that networks take while they learn from the real images, kept epoch by epoch.

Cazenavette et al., "Dataset Distillation by Matching Training Trajectories", CVPR 2022 (arXiv 2203.11932): plain
SGD without momentum or decay, under Siamese augmentation; a snapshot of the fresh network and one after every epoch.

Every epoch has a random stream of its own and SGD has no momentum, so a trajectory is continued from its last
snapshot as if it had never stopped: a job that needs more epochs, or one that was interrupted, trains what is missing.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.errors import DataError
from ddcore.nets.functional import Params
from ddcore.pretrained.difficulty import Curriculum
from ddcore.pretrained.pool import Demand, Pool, shared
from ddcore.pretrained.stage_networks import StageNetworks
from ddcore.pretrained.store import NetworkStore
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import CurriculumConfig, ExpertsConfig
from ddcore.training import trainer
from ddcore.training.flatness import Flatness
from ddcore.training.trainer import OnEpoch


def experts(
    config: ExpertsConfig,
    epochs: int,
    run: Run,
    starts: StageNetworks | None = None,
    curriculum: CurriculumConfig | None = None,
) -> Experts:
    """The experts of a configuration, as far as an epoch: one object however often a run asks for them.

    Args:
        config: how many, and the training recipe.
        epochs: last epoch that will be asked for, at least 1.
        run: the run that needs them.
        starts: networks that they start from in place of fresh ones.
        curriculum: which real images each epoch takes; all by default.

    Raises:
        ConfigurationError: they do not fit on the disk or into the memory, beside the other networks of the run.
    """
    key = (config, epochs, None if starts is None else starts.digest(), curriculum)
    return shared(run, key, lambda: Experts(config, epochs, run, starts, curriculum))


class Experts(Pool):
    """Trajectories of the run's own network, trained in the pretraining phase or read from the folder of jobs.

    A snapshot is read when it is asked for: 100 experts of 40 epochs would fill memory. Without a folder they stay
    in memory.

    Args:
        config: how many, and the training recipe.
        epochs: last epoch that will be asked for, at least 1.
        run: the run that needs them.
        starts: networks that they start from, at least as many, in place of fresh ones: experts of a later stage.
        curriculum: which real images each epoch takes; all by default.
    """

    def __init__(
        self,
        config: ExpertsConfig,
        epochs: int,
        run: Run,
        starts: StageNetworks | None = None,
        curriculum: CurriculumConfig | None = None,
    ) -> None:
        self.config = config
        self._curriculum = None if curriculum is None else Curriculum(curriculum, run)
        self.epochs = epochs
        self._starts = starts
        self._in_memory: dict[int, dict[str, Tensor]] = {}
        store = NetworkStore(
            "expert",
            run,
            network=run.spec.network.model_dump(mode="json"),
            recipe=config.recipe,
            augmentation=run.strategy,
            **({} if starts is None else {"starts": starts.digest()}),
            **({} if curriculum is None else {"curriculum": curriculum.model_dump(mode="json")}),
        )
        super().__init__(config.count, epochs, run, store, run.functional)

    @override
    def prepare(self) -> None:
        """Have every expert trained, after the networks that say which images it sees."""
        if self._curriculum is not None and not all(map(self._is_complete, range(len(self)))):
            self._curriculum.prepare()
        super().prepare()

    @override
    def _demand(self) -> Demand:
        size = self.functional.parameter_bytes
        return Demand(
            field=f"{self._run.steps_path}.experts.count",
            sizes=[max(0, self.epochs + 1 - self._length(index)) * size for index in range(len(self))],
            contents=f"the snapshots of {self.epochs} epochs that have not been made yet",
            smaller=f"a smaller `{self._run.steps_path}.max_start` or `network`",
        )

    @override
    def _is_complete(self, index: int) -> bool:
        return self._length(index) > self.epochs

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

    def _length(self, index: int) -> int:
        """Snapshots there are of an expert."""
        names = self._in_memory.get(index) or self._store.names(index)
        return len({name.partition("/")[0] for name in names})

    @override
    def _train(self, index: int, on_epoch: OnEpoch | None = None) -> None:
        """Go on from the last snapshot there is; what was reached is kept whatever ends the training."""
        run, device = self._run, self._run.compute.device
        length = self._length(index)
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
            flatness=Flatness(self.config.rho, self.config.alpha) if self.config.rho else None,
        )
        try:
            for epoch in range(length, self.epochs + 1):
                seen = slice(None) if self._curriculum is None else self._curriculum.rows(epoch - 1).to(device)
                trainer.train(
                    run.functional,
                    params,
                    images[seen],
                    labels[seen],
                    recipe,
                    torch.Generator().manual_seed(stream_seed(index, f"expert/{epoch}")),
                    normalize=run.dataset.normalize,
                    check_stop=run.check_stop,
                )
                held |= _named(epoch, params)
                if on_epoch is not None:
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
