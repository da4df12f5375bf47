"""Workers begin once the database answers, has the schema that they were written for, and has room to write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from app.migrate import SchemaError

T = TypeVar("T")

_WAIT_S = 60.0
_LOOK_S = 0.5


def await_database(enter: Callable[[], T], ended: threading.Event, wait_s: float = _WAIT_S) -> T | None:
    """Do what needs the database, again and again until it works: it may be busy, or be migrated at this moment.

    So may the disk be full that the service's files are on.

    Args:
        enter: checks the schema and whatever else; may be repeated.
        ended: set when nobody waits any more.
        wait_s: seconds after which to give up.

    Returns:
        What ``enter`` returned, or ``None`` where it was ended before that.

    Raises:
        SchemaError: it did not work for ``wait_s`` seconds.
    """
    give_up_at = time.monotonic() + wait_s
    while not ended.is_set():
        try:
            return enter()
        except SQLAlchemyError as error:
            if time.monotonic() >= give_up_at:
                raise SchemaError(f"the database does not answer ({type(error).__name__})") from error
        except OSError as error:
            if time.monotonic() >= give_up_at:
                raise SchemaError(f"the files of the service cannot be used: {error}") from error
        except SchemaError:
            if time.monotonic() >= give_up_at:
                raise
        ended.wait(_LOOK_S)
    return None
