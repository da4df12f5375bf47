"""Sets in the data root of this machine."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddclient import discovery
from ddclient.commands.ingest_options import commands, progress, text_of
from ddclient.commands.shelves import Row, row
from ddclient.commands.this_machine import import_engine
from ddclient.errors import BadInputError
from ddcore.errors import DataError
from ddcore.spec import DATASETS
from ddcore.spec.ingest import DatasetReport, IngestOptions
from ddcore.spec.local_sets import facts_of, names_in, report_in, usual_name


@dataclass(frozen=True)
class DataRoot:
    """The data root of this machine.

    Attributes:
        folder: it.
        given: as the user named it, where that is so.
    """

    folder: Path
    given: Path | None

    @property
    def where(self) -> str:
        """The place, for people."""
        return f"the data root {self.folder}"

    def add(self, path: Path, name: str, options: IngestOptions, *, replace: bool) -> tuple[DatasetReport, str]:
        """See :class:`Shelf`. Here, a set of the same name has to be replaced, or given another name."""
        with progress() as told, typed(path, name, options, self._flags):
            report: DatasetReport = import_engine("ddcore.data.library").add(
                path, self.folder, name=name, options=options, replace=replace, progress=told
            )
        following = shlex.join(["ddctl", "run", name, "--ipc", "1", *self._root])
        return report, f"{text_of(report)}\n  kept      as {name} in {self.where}\nnext: {following}"

    @property
    def _root(self) -> Sequence[str]:
        return () if self.given is None else ("--data-root", str(self.given))

    @property
    def _flags(self) -> Sequence[str]:
        """What makes a command mean this place."""
        return self._root or (("--local",) if discovery.is_named() else ())

    def list(self) -> tuple[Any, Sequence[Row]]:
        """See :class:`Shelf`."""
        own = names_in(self.folder)
        documents, rows = [], []
        for name in [*own, *(name for name in DATASETS if name not in own)]:
            facts = facts_of(name, self.folder)
            taken_in = name in own and report_in(self.folder / name)
            where = "built in" if name not in own else "taken in" if taken_in else "files as they are"
            documents.append({"name": name, "where": where, "facts": None if facts is None else vars(facts)})
            rows.append(row(name, where, None if facts is None else vars(facts)))
        return documents, rows

    def show(self, name: str) -> tuple[DatasetReport, str]:
        """See :class:`Shelf`."""
        report = report_in(self.folder / name)
        if report is None:
            raise BadInputError(f"no set {name} was taken in here; `ddctl datasets list` shows what there is")
        return report, text_of(report)

    def remove(self, name: str) -> None:
        """See :class:`Shelf`."""
        import_engine("ddcore.data.library").remove(name, self.folder)

    def export(self, name: str, out: Path) -> int:
        """See :class:`Shelf`."""
        return int(import_engine("ddcore.data.library").export(name, self.folder, out))


@contextmanager
def typed(path: Path, name: str, options: IngestOptions, flags: Sequence[str]) -> Iterator[None]:
    """Within this, images that could not be taken in here are answered with commands that may do.

    Args:
        path: of the images.
        name: of the set.
        options: that were given.
        flags: further words that were given.
    """
    try:
        yield
    except DataError as error:
        called = [] if name == usual_name(path) else ["--name", name]
        start = ["ddctl", "datasets", "add", str(path), *called, *flags]
        raise DataError(f"{error}{commands(str(error), start, options)}") from error
