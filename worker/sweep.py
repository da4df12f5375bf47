"""Making room on this machine: folders of jobs that have ended, and what the cache holds of them."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.core.database import Database
from app.core.ids import new_id
from app.queue import leases

IN_USE_S = 6 * 3600.0
"""What a job has looked at so recently, it may look at again."""

DOWNLOADS = "torchvision"
"""The one folder of the cache whose contents jobs could not make again by themselves."""

_REMOVED = ".removed"

_log = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class _Entry:
    """One thing in the cache: the networks under one hash, a dataset, some compiled code."""

    path: Path
    size: int
    used_at: float


def trim_cache(cache_dir: Path, most: float, *, in_use_s: float = IN_USE_S) -> int:
    """Cut the cache down to a size: what no job has used for longest goes first.

    Several workers of a machine may do so at once. What was used in the last ``in_use_s`` seconds stays, even if that
    is more than fits. A job whose entry has gone makes it again.

    Args:
        cache_dir: the folder that jobs share; its entries lie one level below the folders of their kinds.
        most: bytes that may stay.
        in_use_s: seconds.

    Returns:
        Bytes freed.
    """
    for left in cache_dir.glob(f"{_REMOVED}*"):  # by a worker that was killed
        shutil.rmtree(left, ignore_errors=True)
    entries = sorted(_entries(cache_dir), key=lambda entry: entry.used_at)
    size, freed = sum(entry.size for entry in entries), 0
    for entry in entries:
        if size - freed <= most or entry.used_at > time.time() - in_use_s:
            break
        freed += _remove(entry, cache_dir)
    if freed:
        _log.info("removed %.3g GB from the cache, which had %.3g GB", freed / 1e9, size / 1e9)
    return freed


def _entries(cache_dir: Path) -> Iterator[_Entry]:
    for kind in cache_dir.iterdir() if cache_dir.is_dir() else ():
        if kind.is_dir() and kind.name != DOWNLOADS and not kind.name.startswith(_REMOVED):
            yield from map(_measured, kind.iterdir())


def _measured(path: Path) -> _Entry:
    size, used_at = 0, 0.0
    for part in (path, *path.rglob("*")):
        try:
            facts = part.stat(follow_symlinks=False)
        except FileNotFoundError:  # a job or another worker was faster
            continue
        size, used_at = size + facts.st_size, max(used_at, facts.st_mtime)
    return _Entry(path, size, used_at)


def _remove(entry: _Entry, cache_dir: Path) -> int:
    """Remove an entry, of which no job ever sees a part; the bytes freed."""
    aside = cache_dir / new_id(_REMOVED)
    aside.mkdir()
    try:
        entry.path.rename(aside / entry.path.name)
    except FileNotFoundError:
        return 0
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return entry.size
