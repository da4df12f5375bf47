"""Pairs of networks: as one was drawn, and as it came out of a whole training on the real images.

Between the two lie the networks that NCFM matches with (Wang et al., CVPR 2025). The training is that of its released
code (pretrain_script.py of github.com/gszfwsb/NCFM): SGD whose rate falls to a fifth twice, every image augmented for
itself as IDC stacks operations, and CutMix in the place of cutout.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Generator, Tensor
from typing_extensions import override

from ddcore.augment.training import stacked
from ddcore.nets.functional import Params
from ddcore.pretrained.pool import Demand, Pool, shared
from ddcore.pretrained.store import NetworkStore
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import PairsConfig
from ddcore.training import trainer
from ddcore.training.trainer import OnEpoch, Recipe

_PARTS = ("initial", "final")


class Pair(NamedTuple):
    """A network before and after its training: parameters and buffers, constants on the device."""

    initial: Params
    final: Params


def pairs(config: PairsConfig, run: Run) -> NetworkPairs:
    """The pairs of a configuration, one pool however often a run asks for it.

    Raises:
        ConfigurationError: they do not fit on the disk or into the memory, beside the other networks of the run.
    """
    return shared(run, config, lambda: NetworkPairs(config, run))


class NetworkPairs(Pool):
    """Pairs of the run's own network, trained in the pretraining phase or read from the folder of jobs.

    All of them stay in memory: a step needs one, and the next another. ``pairs[index]`` are always the same numbers.

    Args:
        config: how many, and the training recipe.
        run: the run that needs them.
    """

    def __init__(self, config: PairsConfig, run: Run) -> None:
        self.config = config
        self._held: dict[int, Pair] = {}
        store = NetworkStore(
            "pair",
            run,
            network=run.spec.network.model_dump(mode="json"),
            recipe=config.model_dump(mode="json", exclude={"count"}),
            augmentation=_training_strategy(run),
        )
        super().__init__(config.count, config.epochs, run, store, run.functional)

    def __getitem__(self, index: int) -> Pair:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no pair {index} in a pool of {len(self)}")
        if index not in self._held:
            kept = self._store.read(index)
            self._held[index] = self._train(index) if kept is None else _unpacked(kept)
        return self._held[index]

    def adopt(self, index: int, pair: Pair) -> None:
        """Take a pair of networks that there are already, in the place of training one."""
        self._held[index] = pair

    @override
    def prepare(self) -> None:
        """Have every pair trained and in memory."""
        super().prepare()
        for index in range(len(self)):
            self[index]

    @override
    def _demand(self) -> Demand:
        size = len(_PARTS) * self.functional.parameter_bytes
        return Demand(
            field=f"{self._run.steps_path}.pairs.count",
            sizes=[0 if self._is_complete(index) else size for index in range(len(self))],
            contents="the pairs that have not been trained yet",
            smaller="a smaller `network`",
        )

    @override
    def _is_complete(self, index: int) -> bool:
        return index in self._held or bool(self._store.names(index))

    @override
    def _train(self, index: int, on_epoch: OnEpoch | None = None) -> Pair:
        run, config = self._run, self.config
        initial = run.functional.new(Generator(run.compute.device).manual_seed(stream_seed(index, "pair")))
        final = {name: value.clone() for name, value in initial.items()}
        recipe = Recipe(
            epochs=config.epochs,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            batch_size=config.batch_size,
            drops=(2 * config.epochs // 3, 5 * config.epochs // 6),
            drop_factor=0.2,
            restarts=False,
            strategy=_training_strategy(run),
            augmenter=stacked,
            cutmix=config.cutmix,
        )
        trainer.train(
            run.functional,
            final,
            run.dataset.train.images,
            run.dataset.train.labels,
            recipe,
            Generator().manual_seed(stream_seed(index, "pair/training")),
            normalize=run.dataset.normalize,
            on_epoch=on_epoch,
            check_stop=run.check_stop,
        )
        self._held[index] = pair = _unpacked(self._store.keep_first(index, _packed(Pair(initial, final))))
        return pair


def _training_strategy(run: Run) -> tuple[str, ...]:
    return tuple(operation for operation in run.strategy if operation != "cutout")


def _packed(pair: Pair) -> dict[str, Tensor]:
    parts = zip(_PARTS, pair, strict=True)
    return {f"{part}/{name}": value for part, params in parts for name, value in params.items()}


def _unpacked(tensors: dict[str, Tensor]) -> Pair:
    initial, final = (
        {name.removeprefix(part + "/"): value for name, value in tensors.items() if name.startswith(part + "/")}
        for part in _PARTS
    )
    return Pair(initial, final)
