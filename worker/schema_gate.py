"""Workers touch nothing before the database has the schema that they were written for."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from app import migrate
from app.core.database import Database
from app.migrate import SchemaError

_WAIT_S = 60.0
_LOOK_S = 0.5

_log = logging.getLogger(__name__)


def await_schema(database: Database, ended: threading.Event, wait_s: float = _WAIT_S) -> None:
    """Wait until the schema is current: the API may be migrating it at this moment.

    Raises:
        SchemaError: it is not, after ``wait_s`` seconds.
    """
    give_up_at = time.monotonic() + wait_s
    while not ended.is_set():
        try:
            migrate.check(database)
        except SQLAlchemyError as error:
            if time.monotonic() >= give_up_at:
                raise SchemaError(f"the database does not answer ({type(error).__name__})") from error
        except SchemaError:
            if time.monotonic() >= give_up_at:
                raise
        else:
            return
        ended.wait(_LOOK_S)
