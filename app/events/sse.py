"""Server-sent events over HTTP: all that waits for a client is one write."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.types import Send
from typing_extensions import override

RETRY_MS = 1000
"""How long a browser waits before it connects again."""
HEADERS = {
    # Not the class's own, which the framework would describe as one text.
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
"""Neither browsers nor proxies may keep what is sent."""
_TEXT, _COUNT = {"type": "string"}, {"type": "integer", "minimum": 0}
_MESSAGE = {"type": "object", "properties": {"data": _TEXT, "event": _TEXT, "id": _TEXT, "retry": _COUNT}}
RESPONSE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"itemSchema": _MESSAGE}}}}
"""OpenAPI entry of a stream."""


@dataclass(frozen=True)
class Item:
    """One message for clients: an event, or a remark that is not kept (``progress``, ``end``).

    Attributes:
        kind: ``event``, or the name that the message gets.
        data: what it says, as JSON.
        seq: number of the event within its job; 0 for a remark.
        id: by which a client tells where it has come to; empty for a remark.
        droppable: whether a slow client can do without it.
    """

    kind: str
    data: str
    seq: int = 0
    id: str = ""
    droppable: bool = False

    @cached_property
    def encoded(self) -> bytes:
        """As it is sent, to however many clients."""
        name = None if self.kind == "event" else self.kind
        return format_sse_event(data_str=self.data, event=name, id=self.id or None)


Batch = Sequence[Item]
"""What is sent together; nothing of it keeps an idle connection open."""


class EventStream(StreamingResponse):
    """An answer that goes on.

    The framework's own would pass every message of every client through two tasks and three queues, which takes ten
    times as long as to write it.

    Args:
        batches: what to send.
    """

    def __init__(self, batches: AsyncGenerator[Batch, None]) -> None:
        super().__init__(_encoded(batches), headers=HEADERS)
        self._batches = batches

    @override
    async def stream_response(self, send: Send) -> None:
        # A client that leaves while something is being sent leaves no generator that follows on its behalf.
        async with aclosing(self._batches):
            await super().stream_response(send)


async def _encoded(batches: AsyncIterator[Batch]) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RETRY_MS)
    async for batch in batches:
        yield b"".join(item.encoded for item in batch) if batch else KEEPALIVE_COMMENT
