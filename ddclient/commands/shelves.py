"""Where sets of a user's own are kept: in a service, or in the data root of this machine."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ddclient import discovery, output
from ddclient.client import Client
from ddclient.commands.ingest_options import commands, progress, text_of
from ddclient.commands.this_machine import data_folder, import_engine
from ddclient.dataset import Dataset
from ddclient.errors import BadInputError, DatasetFailedError
from ddclient.models import DatasetDocument
from ddclient.progress import bar
from ddcore.errors import DataError
from ddcore.spec import DATASETS
from ddcore.spec.ingest import DatasetReport, IngestOptions
from ddcore.spec.local_sets import facts_of, names_in, report_in, usual_name

Row = tuple[str, str, str, str, str, str]
"""Name, where it is, images, shape, classes and the smallest class, for people."""
UNKNOWN = ("?",) * 4


class Shelf(Protocol):
    """A place that keeps sets.

    Attributes:
        where: it, for people.
    """

    @property
    def where(self) -> str:
        """The place, for people."""
        ...

    def add(self, path: Path, name: str, options: IngestOptions, *, replace: bool) -> tuple[Any, str]:
        """Take images in; a document, and text for people."""
        ...

    def list(self) -> tuple[Any, Sequence[Row]]:
        """Every set that a job there can name; a document, and rows for people."""
        ...

    def show(self, name: str) -> tuple[Any, str]:
        """What is known of a set; a document, and text for people."""
        ...

    def remove(self, name: str) -> None:
        """Remove a set."""
        ...

    def export(self, name: str, out: Path) -> int:
        """Write a set as PNG files; how many."""
        ...


def shelf(*, local: bool, data_root: Path | None) -> Shelf:
    """The service where one can be found, else the data root of this machine.

    Args:
        local: the data root, whatever else there is.
        data_root: the data root, and where it is.
    """
    if local or data_root is not None:
        return DataRoot(data_folder(data_root), data_root)
    return Service() if discovery.is_named() else DataRoot(data_folder(None), None)


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
            rows.append(_row(name, where, None if facts is None else vars(facts)))
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


class Service:
    """The service that was found."""

    @property
    def where(self) -> str:
        """The place, for people."""
        return f"the service at {discovery.locate().url}"

    def add(self, path: Path, name: str, options: IngestOptions, *, replace: bool) -> tuple[Any, str]:
        """See :class:`Shelf`. Here, a known name gets a new version."""
        if replace:
            raise BadInputError(
                "--replace is for the data root of this machine (--local); the service keeps the versions of a name, "
                "and `ddctl datasets rm` removes one"
            )
        with Client() as client:
            return self._ready(send(client, path, name, options))

    def ingest(self, reference: str, options: IngestOptions) -> tuple[Any, str]:
        """Take an upload in once more; a document, and text for people."""
        with Client() as client, bar() as told, advised(options):
            found = client.datasets.get(reference)
            return self._ready(found.ingest(tell=told, **options.model_dump(exclude_unset=True)))

    def _ready(self, dataset: Dataset) -> tuple[Any, str]:
        report = dataset.report()
        text = f"{text_of(report)}\n  kept      as {dataset.reference} in {self.where}"
        return (
            report.model_dump(mode="json") | {"dataset": dataset.document},
            f"{text}\nnext: ddctl submit {dataset.reference} --ipc 1 --watch",
        )

    def list(self) -> tuple[Any, Sequence[Row]]:
        """See :class:`Shelf`."""
        with Client() as client:
            documents = [one.document for one in client.datasets.list()]
        return documents, [_row(one.reference, _standing(one), one.model_dump()) for one in documents]

    def show(self, name: str) -> tuple[Any, str]:
        """See :class:`Shelf`. A set without a report shows how it stands."""
        with Client() as client:
            found = client.datasets.get(name)
            document = found.document
            if document.id is not None and document.state == "ready":
                report = found.report()
                shown = report.model_dump(mode="json") | {"dataset": document}
                return shown, f"{text_of(report)}\n  kept      as {document.reference} in {self.where}"
            return {"dataset": document}, _described(document)

    def remove(self, name: str) -> None:
        """See :class:`Shelf`."""
        with Client() as client:
            client.datasets.remove(name)

    def export(self, name: str, out: Path) -> int:
        """See :class:`Shelf`."""
        library = import_engine("ddcore.data.library")
        if out.is_dir() and any(out.iterdir()):
            raise FileExistsError(f"{out} is not empty; name another folder")
        out.parent.mkdir(parents=True, exist_ok=True)
        with Client() as client, tempfile.TemporaryDirectory(prefix=".fetched-", dir=out.parent) as fetched:
            client.datasets.export(name, Path(fetched) / "set")
            return int(library.export("set", Path(fetched), out))


def send(client: Client, path: Path, name: str | None, options: IngestOptions) -> Dataset:
    """Send images to the service and wait until they are taken in, with a bar.

    Raises:
        DatasetFailedError: they could not be; the message names commands that may do.
    """
    try:
        with bar() as told, advised(options):
            return client.datasets.add(path, name=name, progress=told, **options.model_dump(exclude_unset=True))
    except KeyboardInterrupt:
        output.note("stopped; the same command goes on with what has been sent")
        raise


@contextmanager
def advised(options: IngestOptions) -> Iterator[None]:
    """Within this, images that could not be taken in are answered with commands that may do."""
    try:
        yield
    except DatasetFailedError as error:
        start = ["ddctl", "datasets", "ingest", error.dataset_id]
        typed = commands(error.reason or "", start, options)
        raise DatasetFailedError(
            error.dataset_id,
            error.name,
            error.state,
            error.reason,
            "\nits files are kept for a while and need not be sent again:" + (typed or f"\n  {shlex.join(start)}"),
        ) from error


@contextmanager
def typed(path: Path, name: str, options: IngestOptions, flags: Sequence[str]) -> Iterator[None]:
    """The same for images that are taken in on this machine.

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


def _row(name: str, where: str, facts: Mapping[str, Any] | None) -> Row:
    if facts is None or facts["shape"] is None:
        return (name, where, *UNKNOWN)
    counts = f"{facts['train_size']:,} + {facts['test_size']:,}"
    shape = " x ".join(map(str, facts["shape"]))
    return name, where, counts, shape, str(len(facts["classes"])), f"{facts['smallest_class']:,}"


def _standing(document: DatasetDocument) -> str:
    """Where a set is, or how far."""
    if document.id is None:
        return "built in" if document.builtin else "data root"
    if document.state == "ready":
        return "your own"
    return f"{document.state}, {document.id}"


def _described(document: DatasetDocument) -> str:
    """A set without a report in a few lines."""
    lines = [f"{document.reference}  {document.state}" + (f"  {document.id}" if document.id else "")]
    if document.id is None:
        name, where, images, shape, classes, smallest = _row(
            document.reference, _standing(document), document.model_dump()
        )
        lines[0] = f"{name}  {where}"
        lines.append(f"  images    {images}, {shape}; {classes} classes, the smallest of {smallest}")
    if document.upload is not None and not document.complete:
        size = "?" if document.upload.size is None else f"{document.upload.size:,}"
        lines.append(f"  received  {document.upload.received:,} of {size} bytes of {document.upload.file}")
    if document.job is not None and not document.finished and document.job.total:
        lines.append(f"  decoded   {document.job.done:,} of {document.job.total:,} images")
    if document.error is not None:
        lines.append(f"  error     {document.error.message}")
    if document.actions:
        lines.append(f"  possible  {', '.join(document.actions)}")
    return "\n".join(lines)
