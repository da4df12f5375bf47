"""Workers begin once the database answers and has the schema that they were written for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from app.migrate import SchemaError

_WAIT_S = 60.0
_LOOK_S = 0.5


def await_database(enter: Callable[[], None], ended: threading.Event, wait_s: float = _WAIT_S) -> None:
    """Do what needs the database, again and again until it works: it may be busy, or be migrated at this moment.

    Args:
        enter: checks the schema and whatever else; may be repeated.
        ended: set when nobody waits any more.
        wait_s: seconds after which to give up.

    Raises:
        SchemaError: it did not work for ``wait_s`` seconds.
    """
    give_up_at = time.monotonic() + wait_s
    while not ended.is_set():
        try:
            enter()
        except SQLAlchemyError as error:
            if time.monotonic() >= give_up_at:
                raise SchemaError(f"the database does not answer ({type(error).__name__})") from error
        except SchemaError:
            if time.monotonic() >= give_up_at:
                raise
        else:
            return
        ended.wait(_LOOK_S)
