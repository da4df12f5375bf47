"""Log lines: structured, to standard error, with user text only ever as a field."""

from __future__ import annotations

import logging
import re
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from app.core.settings import Settings
from ddcore.spec import broken_offers

_KEY = re.compile(r"dd_[a-z0-9]{1,16}_[0-9a-z]{8}_[A-Za-z0-9_-]{20,}")


def configure(settings: Settings) -> None:
    """Send the log lines of structlog and of the standard library through one formatter."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    people = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: Processor = structlog.processors.JSONRenderer()
    if people:
        # The default formatter prints local variables, and with them whatever secret they hold.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    # At the level debug it prints what a login is secured with.
    logging.getLogger("authlib").setLevel(logging.WARNING)
    # One line for each request comes from app.core.middleware, with the request's id.
    logging.getLogger("uvicorn.access").disabled = True


def warn_of_broken_offers() -> None:
    """Name what other distributions offer to the catalogs but that cannot be used; it is left out, and nothing else."""
    for one in broken_offers():
        logging.getLogger(__name__).warning("%s", one)


def _redact(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Take API keys out of every field."""
    return {name: _KEY.sub("dd_…", value) if isinstance(value, str) else value for name, value in line.items()}
