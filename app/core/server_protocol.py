"""HTTP/1.1 as the server speaks it, with a limit to the time that the head of a request may take."""

from __future__ import annotations

import asyncio

from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol


def prompt_protocol(seconds: float) -> type[H11Protocol]:
    """The server's own protocol, which closes a connection that does not bring a whole head in time.

    It keeps connections open for ever that have not sent a whole request yet, so that a few hundred of them would use
    up the descriptors of the process.

    Args:
        seconds: from the opening of a connection, or from the first byte of a further request on it.
    """

    class Prompt(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None

        @override
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the server has it
            super().connection_made(transport)
            self._expect_head()

        @override
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()
            else:
                self._expect_head()

        @override
        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            super().connection_lost(exc)

        def _expect_head(self) -> None:
            if self._waiting is None:
                self._waiting = self.loop.call_later(seconds, self._give_up)

        def _stop_waiting(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def _give_up(self) -> None:
            if not self.transport.is_closing():
                self.transport.close()

    return Prompt
