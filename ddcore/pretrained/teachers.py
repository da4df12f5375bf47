"""Teachers: networks trained on the real images before a run needs them, once per content hash, then cached.

The hash covers whatever the weights depend on (data, architecture, recipe, arithmetic, versions) and nothing else; in
particular not the seed of the job, so that jobs share their teachers. Stacks of networks trained at once never pay on a
CPU (:mod:`ddcore.training.trainer`).

The papers' pools are large (1000 ResNet-18 are 45 GB). What would not fit is refused before anything is trained;
what does not fit into memory stays in the cache, and the teachers used last stay in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from typing_extensions import override

from ddcore.machine import capacity
from ddcore.machine.capacity import format_bytes
from ddcore.nets.functional import Params
from ddcore.pretrained.pool import Demand, Pool, shared
from ddcore.pretrained.store import MEMORY_SHARE, NetworkStore
from ddcore.runtime.checkpoint import Stateful
from ddcore.runtime.context import PIECE, Run
from ddcore.runtime.objective import Step
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import TeacherConfig
from ddcore.training import trainer
from ddcore.training.trainer import OnEpoch


def teachers(config: TeacherConfig, run: Run) -> TeacherPool:
    """The teachers of a configuration, one pool however often a run asks for it.

    Raises:
        ConfigurationError: it does not fit on the disk or into the memory, beside the other networks of the run.
    """
    return shared(run, config, lambda: TeacherPool(config, run))


class TeacherPool(Pool):
    """Frozen networks of one configuration, trained in the pretraining phase or read from the cache.

    ``pool[index]`` is one teacher: from memory, else from the cache, else trained; always the same numbers.

    Args:
        config: architecture, size and training recipe.
        run: the run that needs them.
        rows: (K,) int64 training rows that the teachers see; ``None`` for all.

    Attributes:
        config: architecture, size and training recipe.
        functional: the architecture.
    """

    def __init__(self, config: TeacherConfig, run: Run, rows: Tensor | None = None) -> None:
        self._rows = torch.arange(len(run.dataset.train)) if rows is None else rows
        self.config = config
        store = NetworkStore(
            "teacher",
            run,
            rows=hashlib.sha256(self._rows.numpy().tobytes()).hexdigest(),
            teacher=config.model_dump(mode="json", exclude={"pool"}),
        )
        super().__init__(config.pool, config.epochs, run, store, run.network(config.network))
        self._capacity = config.pool
        self._held: dict[int, Params] = {}
        """Teachers in memory by index, the one used last at the end."""

    def __getitem__(self, index: int) -> Params:
        if not 0 <= index < len(self):
            raise IndexError(f"there is no teacher {index} in a pool of {len(self)}")
        params = self._held.pop(index, None)
        if params is None:
            while len(self._held) >= self._capacity:
                del self._held[next(iter(self._held))]
            params = self._store.read(index) or self._train(index)
        self._held[index] = params
        return params

    @override
    def prepare(self) -> None:
        """Have every teacher trained, and in memory as many as may be there at a time."""
        self._have(range(len(self)))

    def pick(self, generator: Generator) -> int:
        """Index of one teacher, drawn uniformly by a generator on the CPU."""
        return int(torch.randint(len(self), (), generator=generator))

    def draw(self, generator: Generator) -> Params:
        """One teacher, drawn uniformly by a generator on the CPU."""
        return self[self.pick(generator)]

    def draw_alone(self, generator: Generator) -> Params:
        """Pick one teacher uniformly, by a generator on the CPU, and have no other: for a run that needs one."""
        index = self.pick(generator)
        self._have([index])
        return self[index]

    @override
    def _demand(self) -> Demand:
        size = self.functional.parameter_bytes
        return Demand(
            field="teacher.pool",
            sizes=[0 if self._is_complete(index) else size for index in range(len(self))],
            contents=f"those of its `{self.config.network.name}` networks that have not been trained yet",
            smaller="a smaller `teacher.network`",
        )

    def _have(self, indices: Sequence[int]) -> None:
        """Train the missing of these teachers, and fill the memory."""
        self._capacity = self._most_in_memory()
        self._train_missing(indices)
        for index in indices:
            if index not in self._held and len(self._held) < self._capacity:
                self._hold(index, self._store.read(index) or self._train(index))

    def _hold(self, index: int, params: Params) -> None:
        """Keep a teacher in memory if there is room."""
        if len(self._held) < self._capacity:
            self._held[index] = params

    def _most_in_memory(self) -> int:
        """How many teachers may be in memory at a time; all of them where there is no cache to read them from."""
        if self._run.cache is None:
            return len(self)
        size, free = self.functional.parameter_bytes, capacity.free_memory(self.functional.compute.device)
        most = max(1, len(self._held) + int(MEMORY_SHARE * free) // size)
        if most < len(self):
            self._run.callback.on_log(
                "info",
                f"{len(self)} teachers of {format_bytes(size)} are too many for the {format_bytes(free)} of free "
                f"memory: {most} are kept in it, and the others are read from the cache as they are drawn",
            )
        return min(most, len(self))

    @override
    def _is_complete(self, index: int) -> bool:
        """Whether a teacher is in memory, or whole in the cache."""
        return index in self._held or bool(self._store.names(index))

    @override
    def _train(self, index: int, on_epoch: OnEpoch | None = None) -> Params:
        run, config = self._run, self.config
        generator = Generator(run.compute.device).manual_seed(stream_seed(index, "teacher"))
        params = self.functional.new(generator)
        recipe = trainer.Recipe(
            epochs=config.epochs,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            batch_size=config.batch_size,
        )
        trainer.train(
            self.functional,
            params,
            run.dataset.train.images[self._rows],
            run.dataset.train.labels[self._rows],
            recipe,
            generator,
            normalize=run.dataset.normalize,
            on_epoch=on_epoch,
            check_stop=run.check_stop,
        )
        kept = self._store.keep_first(index, params)
        self._hold(index, kept)
        return kept


class Teacher:
    """One network of a pool, alone: in evaluation mode, and seeing images as they are.

    Args:
        config: of the pool.
        run: the run that needs it.
    """

    def __init__(self, config: TeacherConfig, run: Run) -> None:
        self._run = run
        self._pool = teachers(config, run)

    def prepare(self, generator: Generator) -> None:
        """Have the network trained: the one of the pool that a generator on the CPU decides on."""
        self._params = self._pool.draw_alone(generator)

    def select(self, rule: Callable[[Tensor], Tensor]) -> Tensor:
        """Training rows that a rule keeps of every class.

        Args:
            rule: rows to keep, int64 (n,), of the features (N, F) float32 of the images of one class.

        Returns:
            int64, class-major, and in each class as the rule orders them.
        """
        return torch.cat([rows[rule(features)] for rows, features in self.features_by_class()])

    def features_by_class(self, without: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Training rows of each class in turn, int64 (n,), with the features of their images, float32 (n, F).

        Args:
            without: int64 rows to leave out.
        """
        labels = self._run.dataset.train.labels.cpu().clone()
        if without is not None:
            labels[without] = -1
        for label in range(len(self._run.dataset.classes)):
            rows = (labels == label).nonzero().flatten()
            yield rows, self._features(rows)

    @torch.no_grad()
    def probabilities(self, images: Tensor, temperature: float) -> Tensor:
        """Softmax of the logits over a temperature.

        Args:
            images: uint8 (N, C, H, W), or floating point in normalised units.
            temperature: positive; the higher, the more even.

        Returns:
            float32 (N, classes) on the device of the run.
        """
        normalize = self._run.dataset.normalize
        pieces = (p.to(self._run.compute.device) for p in images.split(PIECE))
        seen = (normalize(piece) if piece.dtype == torch.uint8 else piece for piece in pieces)
        logits = [self._pool.functional.logits(self._params, piece, training=False) for piece in seen]
        return F.softmax(torch.cat(logits) / temperature, dim=1)

    def _features(self, rows: Tensor) -> Tensor:
        return self._run.real_features(self._params, rows, functional=self._pool.functional)


class DrawnTeacher(Stateful):
    """The teacher that a regulariser looks through: another one of a pool whenever the method's network is new.

    Args:
        config: the pool.
        run: the run that needs it.
        stream: name of the stream that decides.

    Attributes:
        functional: the architecture.
    """

    def __init__(self, config: TeacherConfig, run: Run, stream: str) -> None:
        self._pool = teachers(config, run)
        self._run = run
        self._stream = stream
        self._index: int | None = None
        self.functional = self._pool.functional

    def prepare(self) -> None:
        """Have the pool trained."""
        self._pool.prepare()

    def params(self, step: Step) -> Params:
        """Parameters of the teacher of a step; asked for once a step."""
        if step.fresh_network or self._index is None:
            self._index = self._pool.pick(self._run.random.host_stream(self._stream))
        return self._pool[self._index]

    @override
    def state(self) -> dict[str, Tensor]:
        return {} if self._index is None else {"teacher": torch.tensor(self._index)}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self._index = int(state["teacher"]) if "teacher" in state else None
