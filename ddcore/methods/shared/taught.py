"""What methods and coresets share that look through networks trained on the real images."""

from __future__ import annotations

from typing import TypeVar

from typing_extensions import override

from ddcore.pretrained.teachers import Teacher
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Producer
from ddcore.spec import MethodConfig

M = TypeVar("M", bound=MethodConfig)


class Taught(Producer[M]):
    """One network of each pool that the configuration names, for the whole run; the seed decides which."""

    def __init__(self, config: M, run: Run) -> None:
        super().__init__(config, run)
        self._teachers = [Teacher(pool, run) for pool, _ in config.teachers()]

    @property
    def _teacher(self) -> Teacher:
        """The first of them, or the only one."""
        return self._teachers[0]

    @override
    def prepare(self) -> None:
        for teacher in self._teachers:
            teacher.prepare(self.run.random.host_stream("method/teacher"))
