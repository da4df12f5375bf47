"""Networks trained on the real images before a run needs them: once per content hash, then cached.

The hash covers whatever the weights depend on (data, architecture, recipe, arithmetic, versions) and
nothing else; in particular not the seed of the job, so that jobs share their teachers.

Teachers are trained one at a time. Stacks of networks never pay on a CPU (:mod:`ddcore.training.trainer`), and a
finished teacher is of use to others at once: an interrupted job goes on where it was. Jobs that need the same pool at
the same time train it in different orders and skip what another has finished, without waiting for each other.

The papers' pools are large (1000 ResNet-18 are 45 GB). What would not fit is refused before anything is trained;
what does not fit into memory stays in the cache, and the teachers used last stay in memory.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.machine import capacity
from ddcore.machine.capacity import format_bytes
from ddcore.nets.functional import Params
from ddcore.pretrained.store import MEMORY_SHARE, NetworkStore
from ddcore.run.objective import Stateful, Step
from ddcore.run.randomness import stream_seed
from ddcore.spec import TeacherConfig
from ddcore.training import trainer

if TYPE_CHECKING:
    from ddcore.run.context import Run


class TeacherPool:
    """Frozen networks of one configuration, trained in the pretraining phase or read from the cache.

    ``pool[index]`` is one teacher: from memory, else from the cache, else trained; always the same numbers.

    Args:
        config: architecture, size and training recipe.
        run: the run that needs them.
        without: (K,) int64 training rows that the teachers must not have seen; ``None`` for none.

    Attributes:
        config: architecture, size and training recipe.
        functional: the architecture.
    """

    def __init__(self, config: TeacherConfig, run: Run, without: Tensor | None = None) -> None:
        seen = torch.ones(len(run.dataset.train), dtype=torch.bool)
        if without is not None:
            seen[without] = False
        self._rows = seen.nonzero().flatten()
        self.config = config
        self.functional = run.network(config.network)
        self._run = run
        self._store = NetworkStore(
            "teacher",
            run,
            rows=hashlib.sha256(self._rows.numpy().tobytes()).hexdigest(),
            teacher=config.model_dump(mode="json", exclude={"pool"}),
        )
        self._capacity = config.pool
        self._held: dict[int, Params] = {}
        """Teachers in memory by index, the one used last at the end."""

    def __len__(self) -> int:
        return self.config.pool

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

    def prepare(self) -> None:
        """Have every teacher trained, and in memory as many as may be there at a time."""
        self._have(range(len(self)))

    def pick(self, generator: torch.Generator) -> int:
        """Index of one teacher, drawn uniformly by a generator on the CPU."""
        return int(torch.randint(len(self), (), generator=generator))

    def draw(self, generator: torch.Generator) -> Params:
        """One teacher, drawn uniformly by a generator on the CPU."""
        return self[self.pick(generator)]

    def draw_alone(self, generator: torch.Generator) -> Params:
        """Pick one teacher uniformly, by a generator on the CPU, and have no other: for a run that needs one."""
        index = self.pick(generator)
        self._have([index])
        return self[index]

    def digest(self) -> str:
        """SHA-256 of everything that the teachers' weights depend on except their place in the pool."""
        return self._store.digest()

    def bytes_to_come(self) -> int:
        """What the pool is still going to take: of the cache's disk, or of memory where there is no cache."""
        return sum(not self._kept(index) for index in range(len(self))) * self.functional.parameter_bytes

    def check_room(self, beside: int = 0) -> None:
        """Refuse a pool that does not fit where it is to be kept.

        Args:
            beside: bytes that other networks of the run are still going to take there.

        Raises:
            ConfigurationError: with what is needed, what is free, and the largest pool that fits.
        """
        size, (free, where) = self.functional.parameter_bytes, self._store.room()
        needed, left = self.bytes_to_come(), max(0, free - beside)
        if needed <= left:
            return
        taken = f", {format_bytes(beside)} of which other networks of the job need" if beside else ""
        most = len(self) - math.ceil((needed - left) / size)
        way_out = f"choose a `teacher.pool` of at most {most}, or" if most > 0 else "choose"
        raise ConfigurationError(
            f"`teacher.pool` is {len(self)}, and those of its `{self.config.network.name}` networks that have not been "
            f"trained yet need {format_bytes(needed)} ({self.functional.parameter_count:,} parameters each), but "
            f"{where} {format_bytes(free)}{taken}; {way_out} a smaller `teacher.network`, or make room"
        )

    def _have(self, indices: Sequence[int]) -> None:
        """Train the missing of these teachers, and fill the memory."""
        self._capacity = self._most_in_memory()
        missing = [index for index in indices if not self._kept(index)]
        random.SystemRandom().shuffle(missing)  # so that jobs share the work; no number depends on it
        total = len(missing) * self.config.epochs
        if missing:
            self._run.callback.on_phase("pretraining", total)
        for place, index in enumerate(missing):
            if self._kept(index):  # another job has trained it meanwhile
                continue
            on_epoch = partial(self._report, place * self.config.epochs, total)
            self._hold(index, self._train(index, on_epoch))
        for index in indices:
            if index not in self._held and len(self._held) < self._capacity:
                self._hold(index, self._store.read(index) or self._train(index))

    def _report(self, before: int, total: int, done: int) -> None:
        self._run.callback.on_progress(before + done, total)

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

    def _kept(self, index: int) -> bool:
        """Whether a teacher is in memory, or whole in the cache."""
        return index in self._held or bool(self._store.names(index))

    def _train(self, index: int, on_epoch: Callable[[int], None] | None = None) -> Params:
        run, config = self._run, self.config
        generator = torch.Generator(run.compute.device).manual_seed(stream_seed(index, "teacher"))
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
        return self._write(index, params)

    def _write(self, index: int, params: Params) -> Params:
        """Keep a teacher, unless another job has meanwhile: then its numbers are those that a resumed run will read."""
        earlier = self._store.read(index)
        if earlier is None:
            self._store.write(index, params)
        return earlier or params


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
        self._pool = run.teachers(config)
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
