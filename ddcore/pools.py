"""Networks trained on the real images before a run needs them: once per content hash, then cached.

The hash covers whatever the weights depend on (data, architecture, recipe, arithmetic, versions) and
nothing else; in particular not the seed of the job, so that jobs share their teachers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ddcore import train
from ddcore.nets.functional import Params
from ddcore.network_store import NetworkStore
from ddcore.randomness import stream_seed
from ddcore.spec import TeacherConfig

if TYPE_CHECKING:
    from ddcore.run import Run


class TeacherPool:
    """Frozen networks of one configuration, trained in the pretraining phase or read from the cache.

    Args:
        config: architecture, size and training recipe.
        run: the run that needs them.
        without: (K,) int64 training rows that the teachers must not have seen; ``None`` for none.

    Attributes:
        config: architecture, size and training recipe.
        functional: the architecture.
        params: parameters of each teacher, filled by :meth:`prepare`.
    """

    def __init__(self, config: TeacherConfig, run: Run, without: Tensor | None = None) -> None:
        seen = torch.ones(len(run.dataset.train), dtype=torch.bool)
        if without is not None:
            seen[without] = False
        self._rows = seen.nonzero().flatten()
        self.config = config
        self.functional = run.network(config.network)
        self.params: list[Params] = []
        self._run = run
        self._store = NetworkStore(
            "teacher",
            run,
            rows=hashlib.sha256(self._rows.numpy().tobytes()).hexdigest(),
            teacher=config.model_dump(mode="json", exclude={"pool"}),
        )

    def prepare(self) -> None:
        """Have every teacher at hand; training goes on where an interrupted job left off."""
        for index in range(len(self.params), self.config.pool):
            self.params.append(self._store.read(index) or self._train(index, index, self.config.pool))

    def draw(self, generator: torch.Generator) -> Params:
        """Pick one teacher uniformly, by a generator on the CPU."""
        return self.params[int(torch.randint(len(self.params), (), generator=generator))]

    def draw_alone(self, generator: torch.Generator) -> Params:
        """Pick one teacher uniformly, by a generator on the CPU, and have no other: for a run that needs one."""
        index = int(torch.randint(self.config.pool, (), generator=generator))
        return self._store.read(index) or self._train(index, 0, 1)

    def digest(self) -> str:
        """SHA-256 of everything that the teachers' weights depend on except their place in the pool."""
        return self._store.digest()

    def _train(self, index: int, place: int, total: int) -> Params:
        """Train the teacher with this index, as the one at ``place`` of ``total`` that the run trains."""
        run, config = self._run, self.config
        generator = torch.Generator(run.compute.device).manual_seed(stream_seed(index, "teacher"))
        params = self.functional.new(generator)
        recipe = train.Recipe(
            epochs=config.epochs,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            batch_size=config.batch_size,
        )
        run.callback.on_phase("pretraining", total * config.epochs)

        def on_epoch(done: int) -> None:
            run.callback.on_progress(place * config.epochs + done, total * config.epochs)

        train.train(
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
        self._store.write(index, params)
        return params
