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


def messages(lines: Iterable[str]) -> Iterator[Message]:
    r"""Assemble the messages of a stream from its lines, without their line ends.

    Comments (the server's pings) are dropped. A message that the stream breaks off is not delivered,
    as the standard demands.

    >>> list(messages(["id: 7", "event: job.log", "data: {}", ""]))
    [Message(event='job.log', data='{}', id='7')]
    """
    event, identifier = "", ""
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield Message(event or "message", "\n".join(data), identifier)
            event, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "event":
            event = value
        elif field == "id" and "\0" not in value:
            identifier = value
