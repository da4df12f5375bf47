"""``python -m app``: the API server."""

from __future__ import annotations

import gc
import signal
import sys
from types import FrameType

from ddcore.machine.imports import uncollected

with uncollected():
    import uvicorn
    from fastapi import FastAPI

    from app.core.filesystems import write_privately
    from app.core.logging import configure
    from app.core.programs import ending_plainly
    from app.core.server_protocol import prompt_protocol
    from app.core.settings import Settings
    from app.main import create_app, prepare
    from app.migrate import SchemaError


class Server(uvicorn.Server):
    """A server that ends the event streams as soon as it is told to stop, instead of waiting for them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._application = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        self._application.state.tailer.stop()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serve until told to stop."""
    write_privately()
    for number in (signal.SIGINT, signal.SIGTERM):
        # The server raises the signal once more when it has stopped in good order, which is no failure.
        signal.signal(number, _leave)
    with ending_plainly(SchemaError):
        settings = Settings()
        configure(settings)
        app = create_app(settings)
        # Once more in the application's own start; here a refusal is one plain line.
        prepare(app)
    # All that is there stays: looking through it for garbage would hold every request up, and takes 0.6 s at the end.
    gc.freeze()
    Server(server_settings(app, settings), app).run()
    return 0


def server_settings(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How the server listens, and which proxies it trusts."""
    return uvicorn.Config(
        app,
        http=prompt_protocol(settings.header_timeout_s),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=settings.shutdown_s,
    )


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
