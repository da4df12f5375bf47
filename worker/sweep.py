"""Removing working folders that no attempt will come back to."""

from __future__ import annotations

import shutil
from pathlib import Path

from app.core.database import Database
from app.jobs import leases


def remove_finished(runs_dir: Path, database: Database) -> int:
    """Remove the folders of jobs that have ended; a worker that was killed has left its own.

    Returns:
        How many were removed.
    """
    if not runs_dir.is_dir():
        return 0
    folders = {path.name: path for path in runs_dir.iterdir() if path.is_dir()}
    with database.read() as session:
        needed = leases.unfinished(session, list(folders))
    finished = [path for name, path in folders.items() if name not in needed]
    for path in finished:
        shutil.rmtree(path, ignore_errors=True)
    return len(finished)
