"""What handles on jobs and on studies share."""

from __future__ import annotations

import time
from typing import Generic, Protocol, TypeVar

from ddclient.calls import LONG_POLL_S


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


class Handle(Generic[D]):
    """Something that runs in the service: its document as last read."""

    def __init__(self, document: D) -> None:
        self.document = document

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.status}>"

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

    def _seconds_left(self, deadline: float | None, timeout: float | None) -> float:
        """How long to wait for news; raises once the time is up."""
        left = LONG_POLL_S if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"{self.id} is still {self.status} after {timeout or 0:g} seconds")
        return left
