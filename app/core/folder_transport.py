"""kombu's ``filesystem://`` transport, made safe against half-written messages and vanished folders."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps

_LONGEST_WAIT_S = 0.5


class Channel(filesystem.Channel):  # type: ignore[misc]
    """Messages are files ``<time>_<uuid>.<queue>.msg`` in one folder.

    kombu writes a message under its final name, so a reader may take it while it is still empty; and it
    orders messages by the clock of one boot. Here a message gets its name once it is whole, and a reader
    that finds the folder gone, or something in it that is no message, goes on.
    """

    def _put(self, queue: str, payload: dict[str, Any], **_: Any) -> None:
        folder = Path(self.data_folder_out)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"{time.time_ns() // 1_000_000:015d}_{uuid.uuid4()}"
        temporary = folder / f".{name}"
        temporary.write_text(dumps(payload), "utf-8")
        temporary.replace(folder / f"{name}.{queue}.msg")

    def _get(self, queue: str) -> Any:
        try:
            return super()._get(queue)
        except (FileNotFoundError, ValueError):
            raise Empty from None

    def _size(self, queue: str) -> int:
        folder = Path(self.data_folder_in)
        if not folder.is_dir():
            return 0
        return sum(1 for path in folder.iterdir() if path.name.partition(".")[2] == f"{queue}.msg")


class Transport(filesystem.Transport):  # type: ignore[misc]
    """The transport with these channels."""

    Channel = Channel

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        """Wait for a message, but not for long: Celery looks only in between whether it is to shut down."""
        super().drain_events(connection, None if timeout is None else min(timeout, _LONGEST_WAIT_S))
