"""By what lists of jobs can be sorted, and where a page of such a list ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from typing import cast as typed

from sqlalchemy import BigInteger, ColumnElement, Float, case, cast, func, null, tuple_, type_coerce

from app.core.errors import InvalidParameter
from app.core.tables import Timestamp
from app.models.jobs import Job
from app.models.states import State
from ddcore.spec import did_you_mean

Value = str | int | float | None
Key = ColumnElement[Any]


def _progress(_: datetime) -> Key:
    share = cast(Job.step, Float) / func.nullif(Job.total_steps, 0)
    return case((Job.status == State.SUCCEEDED, 1.0), else_=share)


def _duration(as_of: datetime) -> Key:
    """Milliseconds since a worker first took a job, until its end."""
    until = func.coalesce(Job.finished_at, type_coerce(as_of, Timestamp()), type_=BigInteger())
    return until - type_coerce(Job.started_at, BigInteger())


def _accuracy(_: datetime) -> Key:
    return _score("accuracy", "mean")


def _gain(as_of: datetime) -> Key:
    return _accuracy(as_of) - _score("controls", "random", "mean")


def _score(*path: str) -> Key:
    return typed(Key, Job.results[path].as_float())


COLUMNS: Mapping[str, Callable[[datetime], Any]] = {
    "created": lambda _: type_coerce(Job.created_at, BigInteger()),
    "name": lambda _: func.lower(Job.name),
    "status": lambda _: Job.status,
    "dataset": lambda _: Job.dataset,
    "method": lambda _: Job.method,
    "ipc": lambda _: cast(Job.spec["ipc"].as_string(), BigInteger),
    "seed": lambda _: cast(Job.spec["seed"].as_string(), BigInteger),
    "priority": lambda _: Job.priority,
    "progress": _progress,
    "duration": _duration,
    "accuracy": _accuracy,
    "gain": _gain,
    "finished": lambda _: type_coerce(Job.finished_at, BigInteger()),
}
"""What each column of a list is, in SQL; some depend on the time that the list is of."""
NEVER_NULL = frozenset({"created", "status", "dataset", "method", "priority"})


@dataclass(frozen=True)
class Place:
    """The last row of a page: its value in the column that sorts, its identifier, and the time that the list is of."""

    value: Value
    id: str
    as_of: datetime


@dataclass(frozen=True)
class Sort:
    """The order of a list: by a column, and by identifier where that is alike. Jobs without a value come last."""

    column: str = "created"
    descending: bool = True

    def __str__(self) -> str:
        return f"-{self.column}" if self.descending else self.column

    @classmethod
    def read(cls, text: str) -> Sort:
        """``accuracy``, or ``-accuracy`` for the largest first.

        Raises:
            InvalidParameter: there is no such column.

        >>> Sort.read("-gain")
        Sort(column='gain', descending=True)
        """
        column = text.removeprefix("-")
        if column not in COLUMNS:
            raise InvalidParameter(
                f"cannot sort by '{column}'{did_you_mean(column, COLUMNS)}; known: {', '.join(COLUMNS)}, each with a - "
                "before it for the largest first"
            )
        return cls(column, text.startswith("-"))

    def key(self, as_of: datetime) -> Key:
        """The column, in SQL."""
        return typed(Key, COLUMNS[self.column](as_of))

    def order(self, as_of: datetime) -> tuple[Key, Key]:
        """What to order rows by."""
        key, identifier = self.key(as_of), Job.id
        ordered = key.desc() if self.descending else key.asc()
        last = identifier.desc() if self.descending else identifier.asc()
        return ordered if self.column in NEVER_NULL else ordered.nulls_last(), last

    def after(self, place: Place) -> ColumnElement[bool]:
        """Whether a row comes after another."""
        key = self.key(place.as_of)
        further = Job.id < place.id if self.descending else Job.id > place.id
        if place.value is None:
            return key.is_(null()) & further
        if self.column in NEVER_NULL:
            last = tuple_(place.value, place.id, types=[key.type, Job.id.type])
            here = tuple_(key, Job.id)
            return here < last if self.descending else here > last
        beyond = key < place.value if self.descending else key > place.value
        return beyond | ((key == place.value) & further) | key.is_(null())
