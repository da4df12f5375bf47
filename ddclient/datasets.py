"""The user's own images in the service: sent, listed, fetched, removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ddclient import images as own
from ddclient.dataset import Dataset
from ddclient.errors import BadInputError
from ddclient.models import DatasetDocument
from ddclient.options import options_of
from ddclient.packing import Content
from ddclient.progress import bar, nothing
from ddclient.transport import Transport
from ddclient.uploads import Tell, Upload
from ddcore.spec.ingest import DatasetReport, IngestOptions

PAGE = 100


class Datasets:
    """What :attr:`Client.datasets <ddclient.Client.datasets>` offers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(
        self,
        images: Any,
        *,
        name: str | None = None,
        test: Any = None,
        classes: Sequence[str] | None = None,
        wait: bool = True,
        progress: bool | Tell = False,
        **options: Any,
    ) -> Dataset:
        """Send images, and have them taken in as a set that jobs can name.

        Called again after a cut, with the same images, name and options, it goes on with the upload where it was.

        Args:
            images: a path of a folder, an archive or a file; a pair ``(images, labels)`` of arrays of NumPy or torch,
                (N, H, W), (N, H, W, C) or (N, C, H, W) and (N,); a ``datasets.Dataset`` or ``DatasetDict``; a torch
                ``Dataset``, or any other sequence of pairs of an image (of Pillow, or an array) and its label.
                Pixels are uint8, or floats from 0 to 1.
            name: what jobs call the set; a name that is known gets a new version. Default: as the path is called.
            test: test images of the same kind. Default: those among ``images``, else a share that is cut off.
            classes: what whole numbers as labels stand for. Default: what a Dataset says of itself (``classes``).
            wait: block until the set is ready.
            progress: show a bar on standard error, or a function to tell: what is going on (``sending``, ``queued``,
                ``ingesting``), how far it is (bytes, then images), and of how much.
            options: how the images are taken in, such as ``size=64`` and ``fit="pad"``: the fields of
                :class:`~ddcore.spec.ingest.IngestOptions`.

        Raises:
            BadInputError: the images cannot be sent, or a file changed meanwhile.
            SpecError: an option is out of range.
            DatasetFailedError: they could not be taken in; the upload is kept for :meth:`Dataset.ingest`.
            ProblemError: the service refused, for want of room or otherwise.
        """
        channels = options.get("channels")
        if own.encoded(images, classes):
            options.pop("channels", None)
        chosen, called = options_of(options), name or own.usual(images)
        with _told(progress) as tell, own.opened(images, test, called, classes, channels) as content:
            document = self._announced(called, content, chosen)
            dataset = Dataset(self._transport, Upload(self._transport, document, content, tell).run())
            return dataset.wait(tell=tell) if wait else dataset

    def list(self, name: str | None = None) -> Iterator[Dataset]:
        """The sets that a job can name: the user's own, newest first, then the others; read page by page.

        Args:
            name: only sets of this name.
        """
        cursor: str | None = None
        while True:
            page = self._transport.get("/v1/datasets", name=name, limit=PAGE, cursor=cursor)
            for document in page["data"]:
                yield Dataset(self._transport, DatasetDocument.model_validate(document))
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def get(self, reference: str) -> Dataset:
        """One set.

        Args:
            reference: its identifier (``set_…``), its name and version (``photos@2``), its content (``ds_…``), or a
                name: of the newest version that is ready, else of the newest that is not.

        Raises:
            BadInputError: there is no such set.
        """
        if reference.startswith("set_"):
            document = self._transport.get(f"/v1/datasets/{reference}")
            return Dataset(self._transport, DatasetDocument.model_validate(document))
        name = None if reference.startswith("ds_") else reference.partition("@")[0]
        found = [one for one in self.list(name) if _is_called(one.document, reference)]
        if not found:
            raise BadInputError(f"the service has no set {reference}; `ddctl datasets list` shows what there is")
        return next((one for one in found if one.state == "ready"), found[0])

    def ingest(self, reference: str, *, wait: bool = True, progress: bool | Tell = False, **options: Any) -> Dataset:
        """Take an upload in once more, with other options; see :meth:`Dataset.ingest`."""
        with _told(progress) as tell:
            return self.get(reference).ingest(wait=wait, tell=tell, **options)

    def report(self, reference: str) -> DatasetReport:
        """What was found in the images of a set; see :meth:`Dataset.report`."""
        return self.get(reference).report()

    def export(self, reference: str, out: str | Path) -> Path:
        """Fetch a set as arrays into a folder; see :meth:`Dataset.export`."""
        return self.get(reference).export(out)

    def remove(self, reference: str) -> None:
        """Delete a set of the user's own: the one version that is meant.

        Raises:
            BadInputError: there is no such set, or the name has several.
            ProblemError: jobs that have not ended use it.
        """
        if not reference.startswith(("set_", "ds_")) and "@" not in reference:
            own_ones = [one for one in self.list(reference) if one.document.id is not None]
            if len(own_ones) > 1:
                there = ", ".join(_exact(one) for one in own_ones)
                raise BadInputError(f"there are several sets {reference}: {there}; say which")
        self.get(reference).remove()

    def _announced(self, name: str, content: Content, options: IngestOptions) -> DatasetDocument:
        """The set that the bytes go to: one whose upload was cut, where all that is known of it agrees, else a new one.

        That the bytes agree too is checked by the digest that is sent at the end.
        """
        for one in self.list(name):
            upload = one.document.upload
            same = upload is not None and (upload.file, upload.size) == (content.name, content.size)
            if same and not one.document.complete and one.document.options == options:
                return one.document
        body = {"name": name, "file": content.name, "size": content.size, "options": options.model_dump(mode="json")}
        return DatasetDocument.model_validate(self._transport.post("/v1/datasets", body))


def _is_called(document: DatasetDocument, reference: str) -> bool:
    """Whether a reference means this set: its content, its name and version, or its name alone."""
    if reference.startswith("ds_"):
        return document.content_id == reference
    return reference == (document.reference if "@" in reference else document.name)


def _exact(dataset: Dataset) -> str:
    """A reference that no other set shares."""
    return dataset.reference if dataset.document.version is not None else f"{dataset.id} ({dataset.state})"


def _told(progress: bool | Tell) -> AbstractContextManager[Tell]:
    if callable(progress):
        return nullcontext(progress)
    return bar() if progress else nullcontext(nothing)
