"""Whether database, broker and store can be used from here: ``python -m app.system.probe`` prints it as JSON.

It changes nothing but for a few bytes in the store, which it removes. What the first start makes is not missed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError
from sqlalchemy import make_url

from app import migrate
from app.core import broker
from app.core.database import Database
from app.core.settings import Settings, explain
from app.core.storage import open_store, read_verified

Verdict = Literal["ok", "warning", "error"]

PATIENCE_S = 3.0
NOT_YET = "not there yet; `ddctl up` makes it"
_SAMPLE = b"ddservice: written and removed to see whether the store works"


def examine(settings: Settings) -> dict[str, tuple[Verdict, str]]:
    """What is said of each part of the service that this process can reach, by name."""
    parts: dict[str, Callable[[Settings], tuple[Verdict, str]]] = {
        "database": _database, "broker": _broker, "store": _store,
    }  # fmt: skip
    return {name: _guarded(look, settings) for name, look in parts.items()}


def main() -> int:
    """Print settings and verdicts as one JSON document."""
    try:
        settings = Settings()
    except ValidationError as error:
        sys.stderr.write(f"{explain(error)}\n")
        return 2
    described = {f"DD_{name.upper()}": value for name, value in settings.describe().items()}
    sys.stdout.write(json.dumps({"settings": described, "checks": examine(settings)}, default=str))
    return 0


def _guarded(look: Callable[[Settings], tuple[Verdict, str]], settings: Settings) -> tuple[Verdict, str]:
    try:
        return look(settings)
    except migrate.SchemaError as error:
        return "error", str(error)
    except Exception as error:  # whatever a driver raises is what there is to report
        # The text of a driver may hold an address with its password.
        return "error", f"cannot be used: {type(error).__name__}"


def _database(settings: Settings) -> tuple[Verdict, str]:
    url = make_url(settings.database_url)
    if settings.embedded and not Path(url.database or "").is_file():
        return "warning", NOT_YET
    database = Database(settings)
    try:
        migrate.check(database)
    finally:
        database.dispose()
    return "ok", f"{url.get_backend_name()} answers, and its schema is this version's"


def _broker(settings: Settings) -> tuple[Verdict, str]:
    if broker.uses_folder(settings):
        there = settings.broker_dir.is_dir()
        return ("ok", "a folder of this machine") if there else ("warning", NOT_YET)
    broker.connect(settings, PATIENCE_S)
    return "ok", f"{urlsplit(settings.broker_url).scheme} answers"


def _store(settings: Settings) -> tuple[Verdict, str]:
    parts = urlsplit(settings.storage_url)
    if parts.scheme in ("", "file") and not Path(unquote(parts.path)).is_dir():
        return "warning", NOT_YET
    store = open_store(settings)
    blob = store.put_stream([_SAMPLE])
    try:
        read_verified(store, blob)
    finally:
        store.delete(blob.sha256)
    return "ok", "written, read and removed"


if __name__ == "__main__":
    sys.exit(main())
