"""What the list of jobs shows, as its address says: which jobs, in which order, and which of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from app.jobs.repository import Filters
from app.jobs.sorting import Sort
from app.models.states import State


@dataclass(frozen=True)
class Column:
    """A column of the list.

    Attributes:
        title: above it.
        sort: what sorts by it; empty where nothing does.
        largest_first: which way it is sorted first.
        number: whether it stands to the right.
    """

    title: str
    sort: str = ""
    largest_first: bool = False
    number: bool = False


COLUMNS: Mapping[str, Column] = {
    "status": Column("State", "status"),
    "job": Column("Job", "name"),
    "progress": Column("Progress", "progress", largest_first=True),
    "accuracy": Column("Accuracy", "accuracy", largest_first=True),
    "gain": Column("Gain over random", "gain", largest_first=True, number=True),
    "seed": Column("Seed", "seed", number=True),
    "ipc": Column("Images per class", "ipc", number=True),
    "dataset": Column("Dataset", "dataset"),
    "method": Column("Method", "method"),
    "labels": Column("Labels"),
    "priority": Column("Priority", "priority", largest_first=True, number=True),
    "duration": Column("Duration", "duration", largest_first=True, number=True),
    "finished": Column("Ended", "finished", largest_first=True, number=True),
    "created": Column("Age", "created", largest_first=True, number=True),
    "id": Column("Identifier"),
}
USUAL = ("status", "job", "progress", "accuracy", "seed", "duration", "created")
NEWEST = "-created"


@dataclass(frozen=True)
class Listing:
    """What the address of the list says; an empty field does not restrict."""

    status: str = ""
    method: str = ""
    dataset: str = ""
    search: str = ""
    label: str = ""
    study: str = ""
    sort: str = NEWEST
    columns: Sequence[str] = field(default=USUAL)

    @property
    def filtered(self) -> bool:
        """Whether some jobs may be left out."""
        return any((self.status, self.method, self.dataset, self.search.strip(), self.label, self.study))

    @property
    def filters(self) -> Filters:
        """Which jobs it shows.

        Raises:
            InvalidParameter: the label is not written as one.
        """
        return Filters(
            status=tuple(state for state in State if state == self.status),
            method=self.method or None,
            dataset=self.dataset or None,
            labels=(Filters.read_label(self.label),) if self.label else (),
            search=self.search.strip() or None,
            study=self.study or None,
        )

    @property
    def shown(self) -> Mapping[str, Column]:
        """The columns, in the order of the list."""
        return {name: column for name, column in COLUMNS.items() if name in self.columns or name == "job"}

    def address(self, **other: object) -> str:
        """The address of the list with some fields changed; what is as usual is left out.

        >>> Listing(search="a b").address(sort="name", status="failed")
        '/?status=failed&search=a+b&sort=name'
        """
        now = {**vars(self), **other}
        usual = {**vars(Listing()), "cursor": None}
        query = {name: value for name, value in now.items() if value not in (usual[name], "", None)}
        return f"/?{urlencode(query, doseq=True)}" if query else "/"

    def sorted_by(self, column: Column) -> str:
        """Which way a column sorts the list now, in ARIA's words."""
        sort = Sort.read(self.sort)
        return "none" if sort.column != column.sort else "descending" if sort.descending else "ascending"

    def next_sort(self, column: Column) -> str:
        """How the list is sorted once the title of a column is chosen: its usual way first, then the other."""
        usual = Sort(column.sort, column.largest_first)
        return str(Sort(column.sort, not column.largest_first) if self.sort == str(usual) else usual)

    @property
    def sorts(self) -> Iterator[tuple[str, str]]:
        """What the list can be sorted by, each in its usual way, and as it is now."""
        known = {str(Sort(c.sort, c.largest_first)): c for c in COLUMNS.values() if c.sort}
        if self.sort not in known:
            known[self.sort] = next(c for c in COLUMNS.values() if c.sort == Sort.read(self.sort).column)
        for sort, column in known.items():
            yield sort, f"{column.title}, {_way(sort)}"


def _way(sort: str) -> str:
    words = {"-created": "newest first", "created": "oldest first"}
    return words.get(sort, "largest first" if sort.startswith("-") else "smallest first")
