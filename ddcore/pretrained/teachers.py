"""Teachers: networks trained on the real images before a run needs them, once per content hash, then cached.

The hash covers whatever the weights depend on (data, architecture, recipe, arithmetic, versions) and nothing else; in
particular not the seed of the job, so that jobs share their teachers. Stacks of networks trained at once never pay on a
CPU (:mod:`ddcore.training.trainer`).

The papers' pools are large (1000 ResNet-18 are 45 GB). What would not fit is refused before anything is trained;
what does not fit into memory stays in the cache, and the teachers used last stay in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from typing_extensions import override

from ddcore.errors import DataError
from ddcore.formulas.batch_statistics import distance_of_moments
from ddcore.machine import capacity
from ddcore.machine.capacity import format_bytes
from ddcore.nets.functional import Functional, Params
from ddcore.pretrained.frozen import Frozen
from ddcore.pretrained.pool import Demand, Pool, shared
from ddcore.pretrained.store import MEMORY_SHARE, NetworkStore
from ddcore.runtime.checkpoint import Stateful
from ddcore.runtime.context import PIECE, Run
from ddcore.runtime.objective import Step
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import TeacherConfig
from ddcore.spec.evaluation import TeacherMode
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


class Teacher(Frozen):
    """One network of a pool, alone: in evaluation mode, and seeing images as they are.

    Args:
        config: of the pool.
        run: the run that needs it.
    """

    def __init__(self, config: TeacherConfig, run: Run) -> None:
        super().__init__(run)
        self._pool = teachers(config, run)

    @override
    def prepare(self, generator: Generator) -> None:
        """Have the network trained: the one of the pool that a generator on the CPU decides on."""
        self._params = self._pool.draw_alone(generator)

    def adopt(self, tensors: Params) -> None:
        """Take a network that was trained before, in the place of :meth:`prepare`.

        Args:
            tensors: as from :attr:`stored`.

        Raises:
            DataError: it has another architecture, or tells apart another number of classes.
        """
        functional, device = self._pool.functional, self._run.compute.device
        expected = {name: tuple(tensor.shape) for name, tensor in functional.new(Generator().manual_seed(0)).items()}
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        last = "classifier.weight"
        if set(found) == set(expected) and found[last][:1] != expected[last][:1]:
            raise DataError(
                f"the teacher tells {found[last][0]} classes apart, but {self._run.dataset.name} has "
                f"{expected[last][0]}; use the dataset that it was trained on"
            )
        if found != expected:
            wrong = next(name for name in (*expected, *found) if found.get(name) != expected.get(name))
            raise DataError(
                f"the teacher is no `{self._pool.config.network.name}` for {self._run.dataset.name}: its `{wrong}` is "
                f"{found.get(wrong, 'missing')} where {expected.get(wrong, 'nothing')} is expected; fetch the bundle "
                "again"
            )
        self._params = {
            name: (tensor.float() if tensor.is_floating_point() else tensor).to(device)
            for name, tensor in tensors.items()
        }

    def halve(self) -> None:
        """Round the weights to float16, where all of them stay finite: what a bundle keeps is then what labels.

        Running statistics stay float32: a variance may be larger than float16 can hold.
        """
        names = self._pool.functional.names
        rounded = {name: value.half().float() for name, value in self._params.items() if name in names}
        if all(bool(value.isfinite().all()) for value in rounded.values()):
            self._params = {**self._params, **rounded}

    @property
    def dtype(self) -> torch.dtype:
        """float16 where every weight is a number of that type, else float32."""
        weights = [self._params[name] for name in self._pool.functional.names]
        exact = all(torch.equal(weight.half().float(), weight) for weight in weights)
        return torch.float16 if exact else torch.float32

    @property
    def stored(self) -> Params:
        """Parameters and buffers on the CPU, in as few bytes as keep their numbers: weights in :attr:`dtype`."""
        names, dtype = self._pool.functional.names, self.dtype
        return {
            name: (value.to(dtype) if name in names else value).cpu().contiguous()
            for name, value in self._params.items()
        }

    def accuracy(self) -> float:
        """Percent of the whole test set."""
        run = self._run
        test, normalize = run.dataset.test, run.dataset.normalize
        return trainer.accuracy(self._pool.functional, self._params, test.images, test.labels, normalize=normalize)

    @torch.no_grad()
    def logits(self, images: Tensor, mode: TeacherMode = "eval") -> Tensor:
        """Logits (N, classes) float32, as constants.

        Args:
            images: (N, C, H, W) in normalised units, on the device of the run.
            mode: ``train`` for statistics of this batch in batch normalisation.
        """
        functional, params = self._pool.functional, self._params
        if mode == "train":
            # The pass moves the running statistics, and those of the teacher must stay as they are.
            params = {name: value if name in functional.names else value.clone() for name, value in params.items()}
        return functional.logits(params, images, training=mode == "train")

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

    @property
    @override
    def functional(self) -> Functional:
        return self._pool.functional

    def unlikeness(self, images: Tensor, first_layer: float) -> tuple[Tensor, Tensor]:
        """Logits of a batch, and how far its statistics are from those of the real images.

        Args:
            images: normalised (N, C, H, W), at least two.
            first_layer: factor of the first normalisation; that of all others is 1.

        Returns:
            Logits (N, classes), and the sum over all batch normalisations, a scalar; differentiable to the images.
        """
        logits, statistics = self._pool.functional.with_moments(self._params, images)
        distances = [
            distance_of_moments(*found, self._params[f"{name}.running_mean"], self._params[f"{name}.running_var"])
            for name, found in statistics.items()
        ]
        return logits, first_layer * distances[0] + torch.stack(distances[1:]).sum()


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
