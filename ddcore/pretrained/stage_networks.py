"""Networks that have learned the earlier stages of a set: where those of a stage start.

SeqMatch (Du, Shi & Zhou, NeurIPS 2023, arXiv 2311.01570) and PDD (Chen et al., ICLR 2024, arXiv 2310.06982) condition
each stage on networks that were trained on S_1, then on S_1 and S_2, and so on, each at the learning rate learned with
it and through a whole schedule. Network i of a stage goes on from network i of the stage before, so every stage adds
one lesson to a chain (trajectory and bilevel, 4.5 and 5.2); it begins with the weights that expert i begins with.

They are made once a stage and then read, at every step if need be (5.5).
"""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from ddcore.nets.functional import Params
from ddcore.pretrained.store import NetworkStore
from ddcore.run.randomness import stream_seed
from ddcore.spec import EvaluationConfig
from ddcore.spec.protocols import Schedule
from ddcore.training import trainer
from ddcore.training.recipes import recipe_of
from ddcore.training.trainer import Recipe

if TYPE_CHECKING:
    from ddcore.run.context import Run


@dataclass(frozen=True, eq=False)
class Lesson:
    """What networks learn of a set before its next stage: all stages so far.

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


class Starts:
    """A pool of networks, all trained on a lesson after those before it.

    ``starts[index]`` is one of them: from the cache or memory, else trained; always the same numbers.

    Args:
        count: how many.
        lesson: the last that they have learned.
        epochs: E of the schedule of a lesson, see ``evaluation.schedule``: E + 1 passes, the rate drops half way.
        run: the run that needs them.
        before: the pool that had the lessons before this one, at least as large; ``None`` for fresh networks.
        schedule: how the rate drops half way.
    """

    def __init__(
        self,
        count: int,
        lesson: Lesson,
        epochs: int,
        run: Run,
        before: Starts | None = None,
        schedule: Schedule = "drop_once",
    ) -> None:
        self._count = count
        self._lesson = lesson
        self._run = run
        self._before = before
        self._recipe = lesson_recipe(run, epochs, lesson.lr, schedule)
        self._in_memory: dict[int, Params] = {}
        self._store = NetworkStore(
            "start",
            run,
            network=run.spec.network.model_dump(mode="json"),
            augmentation=run.strategy,
            lesson=lesson.digest(),
            epochs=epochs,
            **({} if schedule == "drop_once" else {"schedule": schedule}),
            before=None if before is None else before.digest(),
        )

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Params:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no network {index} in a pool of {len(self)}")
        return self._in_memory.get(index) or self._store.read(index) or self._train(index)

    def draw(self, generator: Generator) -> Params:
        """One network, drawn uniformly by a generator on the CPU; constants."""
        return self[int(torch.randint(len(self), (), generator=generator))]

    def digest(self) -> str:
        """SHA-256 of everything that the weights depend on except a network's place in the pool."""
        return self._store.digest()

    def prepare(self) -> None:
        """Have every network trained."""
        missing = [i for i in range(len(self)) if i not in self._in_memory and not self._store.names(i)]
        if not missing:
            return
        random.SystemRandom().shuffle(missing)  # so that jobs share the work; no number depends on it
        callback, total = self._run.callback, len(missing) * self._recipe.epochs
        callback.on_phase("pretraining", total)
        for place, index in enumerate(missing):
            before = place * self._recipe.epochs
            callback.on_progress(before, total)
            if not self._store.names(index):  # no other job has trained it meanwhile
                self._train(index, partial(self._report, before, total))
        callback.on_progress(total, total)

    def _report(self, before: int, total: int, epoch: int) -> None:
        self._run.callback.on_progress(before + epoch, total)

    def _train(self, index: int, on_epoch: trainer.OnEpoch | None = None) -> Params:
        run, lesson = self._run, self._lesson
        params = {name: value.clone() for name, value in self._pupil(index).items()}
        trainer.train(
            run.functional,
            params,
            lesson.images,
            lesson.labels,
            self._recipe,
            Generator().manual_seed(stream_seed(index, "start")),
            on_epoch=on_epoch,
            check_stop=run.check_stop,
        )
        if run.cache is None:
            self._in_memory[index] = params
            return params
        earlier = self._store.read(index)
        if earlier is None:
            self._store.write(index, params)
        return earlier or params

    def _pupil(self, index: int) -> Params:
        """The network as it is before the lesson."""
        if self._before is not None:
            return self._before[index]
        return self._run.functional.new(Generator(self._run.compute.device).manual_seed(stream_seed(index, "expert")))


class Stageable(ABC):
    """A method whose networks can start where others have learned the earlier stages of the set."""

    @abstractmethod
    def start_from(self, starts: Starts) -> None:
        """Train what the steps of a stage need, and have their networks start from there from now on.

        May be interrupted; nothing has changed then.
        """


def lesson_recipe(run: Run, epochs: int, lr: float, schedule: Schedule) -> Recipe:
    """How networks are trained on the stages so far: as MTT scores (SGD with momentum and decay), on a schedule."""
    return recipe_of(EvaluationConfig(protocol="mtt", epochs=epochs, lr=lr, schedule=schedule), run.strategy)
