"""What handles on jobs, studies, scores and datasets share: they are waited for."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from ddclient.calls import LONG_POLL_S

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 2.0


class Awaited(ABC):
    """Something that the service works on until it ends, as last read."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {' '.join(self._how_far)}>"

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether it has ended, as last read."""

    @property
    @abstractmethod
    def _how_far(self) -> tuple[str, str]:
        """What it is called, and its status."""

    def _until_ended(self, timeout: float | None) -> Iterator[float]:
        """Seconds to wait at most before it is read again, until it has ended.

        Raises:
            TimeoutError: ``timeout`` seconds have passed since this call.
        """
        return self._until(None if timeout is None else time.monotonic() + timeout, timeout)

    def _until(self, deadline: float | None, timeout: float | None) -> Iterator[float]:
        while not self.finished:
            left = LONG_POLL_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                name, status = self._how_far
                raise TimeoutError(f"{name} is still {status} after {timeout or 0:g} seconds")
            yield left

    def _pauses(self, timeout: float | None) -> Iterator[float]:
        """The same for what no request waits for: seconds to sleep, which grow."""
        pause = FIRST_PAUSE_S
        for left in self._until_ended(timeout):
            yield min(pause, left)
            pause = min(pause * 1.5, LONGEST_PAUSE_S)


class Ending(Protocol):
    """A document of something that runs until it ends."""

    @property
    def id(self) -> str:
        """Identifier."""

    @property
    def status(self) -> str:
        """How far it has come."""

    @property
    def finished(self) -> bool:
        """Whether it has ended."""


D = TypeVar("D", bound=Ending)


class Handle(Awaited, Generic[D]):
    """Something that runs in the service: its document as last read."""

    def __init__(self, document: D) -> None:
        self.document = document

    @property
    def id(self) -> str:
        """Identifier."""
        return self.document.id

    @property
    def status(self) -> str:
        """Status as last read; ``refresh`` reads it again."""
        return self.document.status

    @property
    def finished(self) -> bool:
        """Whether it has ended, as last read."""
        return self.document.finished

    @property
    def _how_far(self) -> tuple[str, str]:
        return self.id, self.status
