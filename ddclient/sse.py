"""Server-sent events (the WHATWG HTML standard, section 9.2), as much of them as the service uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One message of a stream; ``id`` is empty where the sender gave none."""

    event: str
    data: str
    id: str


class Assembler:
    """Puts the messages of a stream together from its lines, without their line ends.

    Comments (the server's pings) are dropped. A message that the stream breaks off is not delivered,
    as the standard demands.
    """

    def __init__(self) -> None:
        self._event, self._id = "", ""
        self._data: list[str] = []

    def feed(self, line: str) -> Message | None:
        """Take a line in; returns the message that it completes."""
        if not line:
            done = Message(self._event or "message", "\n".join(self._data), self._id) if self._data else None
            self._event, self._data = "", []
            return done
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._event = value
        elif field == "id" and "\0" not in value:
            self._id = value
        return None


def messages(lines: Iterable[str]) -> Iterator[Message]:
    r"""The messages of a stream, from its lines.

    >>> list(messages(["id: 7", "event: job.log", "data: {}", ""]))
    [Message(event='job.log', data='{}', id='7')]
    """
    assembler = Assembler()
    yield from (message for message in map(assembler.feed, lines) if message is not None)
