"""How a program of the service ends where it cannot work: with plain lines, and a status that says whose fault."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from app.core.settings import explain
from app.core.storage import StorageError

REFUSED = 2
"""Exit status where settings or arguments are at fault."""
UNREACHABLE = 1
"""Exit status where the database or the store is."""


@contextmanager
def ending_plainly(*also: type[Exception]) -> Iterator[None]:
    """Around work that may fail for reasons that a sentence tells: the program ends with that sentence on stderr.

    Args:
        *also: errors besides OSError and ValueError whose text says it all.

    Raises:
        SystemExit: with :data:`REFUSED` or :data:`UNREACHABLE`.
    """
    said: tuple[type[Exception], ...] = (OSError, ValueError, *also)
    try:
        yield
        return
    except ValidationError as error:
        text, status = explain(error), REFUSED
    except DBAPIError as error:
        text, status = f"the database cannot be used: {error.orig}", UNREACHABLE
    except StorageError as error:
        text, status = f"the store cannot be used: {error}", UNREACHABLE
    except said as error:
        text, status = str(error), REFUSED
    sys.stderr.write(f"{text}\n")
    raise SystemExit(status)
