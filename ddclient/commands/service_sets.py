"""Sets in the service that was found."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ddclient import discovery
from ddclient.client import Client
from ddclient.commands.ingest_options import text_of
from ddclient.commands.sending import advised, send
from ddclient.commands.shelves import Row, row
from ddclient.commands.this_machine import import_engine
from ddclient.dataset import Dataset
from ddclient.errors import BadInputError
from ddclient.models import DatasetDocument
from ddclient.progress import bar
from ddcore.spec.ingest import IngestOptions


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
        return documents, [row(one.reference, _standing(one), one.model_dump()) for one in documents]

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


def _standing(document: DatasetDocument) -> str:
    """Where a set is, or how far."""
    if document.id is None:
        where = "built in" if document.builtin else "data root"
        return where if document.state == "ready" else f"{where}, {document.state}"
    if document.state == "ready":
        return "your own"
    return f"{document.state}, {document.id}"


def _described(document: DatasetDocument) -> str:
    """A set without a report in a few lines."""
    lines = [f"{document.reference}  {document.state}" + (f"  {document.id}" if document.id else "")]
    if document.id is None:
        name, where, images, shape, classes, smallest = row(
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
