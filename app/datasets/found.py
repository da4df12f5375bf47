"""What workers find in their data roots: files that somebody put there by hand, fit for jobs or not.

The files belong to no tenant. A row is about one data root, because workers on several machines may hold different
files under one name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pydantic import TypeAdapter
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.core.tables import clock
from app.datasets.schemas import DatasetError
from app.models.datasets import FoundSet
from ddcore.spec import DatasetFacts

_FACTS = TypeAdapter(DatasetFacts)
_CURRENT = timedelta(minutes=10)
"""Data roots whose workers were seen this much earlier than another one's count no more."""
_FORGET_S = 86_400.0
_LOOKING_S = 60.0
"""Silence after which the worker that was looking is taken for gone."""


@dataclass(frozen=True)
class Found:
    """What is known of a name, over all data roots that hold it. Neither is set where it is not certain.

    Attributes:
        facts: of the set, which all data roots agree on.
        error: why no data root has a set of that name that can be used.
    """

    facts: DatasetFacts | None = None
    error: DatasetError | None = None


def known(session: Session, name: str | None = None) -> Mapping[str, Found]:
    """What was found, by name.

    Args:
        session: a transaction.
        name: the only one that is asked for; default: all.
    """
    rows = select(FoundSet) if name is None else select(FoundSet).where(FoundSet.name == name)
    by_name: dict[str, list[FoundSet]] = {}
    for row in session.scalars(rows.order_by(FoundSet.seen_at.desc(), FoundSet.root)):
        by_name.setdefault(row.name, []).append(row)
    return {each: _verdict(of_name) for each, of_name in by_name.items()}


def _verdict(rows: Sequence[FoundSet]) -> Found:
    """What data roots agree on; the newest row is the first."""
    current = [row for row in rows if row.seen_at >= rows[0].seen_at - _CURRENT]
    if all(row.error is not None for row in current):
        return Found(error=DatasetError.model_validate(current[0].error))
    if all(row.facts is not None and row.facts == current[0].facts for row in current):
        return Found(facts=_FACTS.validate_python(current[0].facts))
    return Found()


def saw(session: Session, root: str, fingerprints: Mapping[str, str]) -> Sequence[str]:
    """Record what a data root holds now.

    Files that another data root holds, too, need not be looked at again: what was found there counts here.

    Args:
        session: a transaction.
        root: the data root.
        fingerprints: of the files, by the names of the sets.

    Returns:
        Names that nobody has looked at, or is looking at; the caller should.
    """
    session.execute(delete(FoundSet).where(FoundSet.seen_at < clock(-_FORGET_S)))
    session.execute(delete(FoundSet).where(FoundSet.root == root, FoundSet.name.not_in(list(fingerprints))))
    own = select(FoundSet).where(FoundSet.root == root)
    there = {row.name: row for row in session.scalars(own)}
    abandoned = {row.name for row in session.scalars(own.where(FoundSet.seen_at < clock(-_LOOKING_S)))}
    waiting = []
    for name, fingerprint in fingerprints.items():
        row = there.get(name)
        if row is None or row.fingerprint != fingerprint:
            row = session.merge(_as_elsewhere(session, root, name, fingerprint))
        elif row.looked_at is None and name not in abandoned:
            continue
        if row.looked_at is None:
            waiting.append(name)
    session.flush()
    see(session, root, fingerprints)
    return waiting


def see(session: Session, root: str, names: Collection[str]) -> None:
    """Say that files are still there, or still being looked at."""
    seen = update(FoundSet).where(FoundSet.root == root, FoundSet.name.in_(list(names))).values(seen_at=clock())
    session.execute(seen.execution_options(synchronize_session=False))


def record(session: Session, root: str, name: str, fingerprint: str, found: Found) -> None:
    """Record what was found in files, unless they are others by now."""
    values = {
        "facts": None if found.facts is None else _FACTS.dump_python(found.facts, mode="json"),
        "error": None if found.error is None else found.error.model_dump(),
        "looked_at": clock(),
        "seen_at": clock(),
    }
    same = (FoundSet.root == root, FoundSet.name == name, FoundSet.fingerprint == fingerprint)
    session.execute(update(FoundSet).where(*same).values(values).execution_options(synchronize_session=False))


def _as_elsewhere(session: Session, root: str, name: str, fingerprint: str) -> FoundSet:
    same = select(FoundSet).where(
        FoundSet.name == name, FoundSet.fingerprint == fingerprint, FoundSet.looked_at.is_not(None)
    )
    other = session.scalars(same.limit(1)).first()
    return FoundSet(
        root=root,
        name=name,
        fingerprint=fingerprint,
        facts=None if other is None else other.facts,
        error=None if other is None else other.error,
        looked_at=None if other is None else other.looked_at,
    )
