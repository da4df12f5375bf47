"""The user's own images in the service: sent, listed, fetched, removed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ddclient import set_calls
from ddclient.calls import Call, Page
from ddclient.dataset import Dataset
from ddclient.models import DatasetDocument
from ddclient.packing import Content
from ddclient.parcels import Parcel, check_alone, is_bare, meant, name_in
from ddclient.progress import told
from ddclient.transport import Transport
from ddclient.uploads import Tell, Upload
from ddcore.spec.ingest import DatasetReport


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
        parcel = Parcel.of(images, name, test, classes, options)
        with told(progress) as tell, parcel.opened() as content:
            document = self._announced(parcel, content)
            upload = Upload(document, set_calls.one(str(document.id)), content, tell)
            dataset = Dataset(self._transport, self._transport.upload(upload))
            return dataset.wait(tell=tell) if wait else dataset

    def list(self, name: str | None = None) -> Iterator[Dataset]:
        """The sets that a job can name: the user's own, newest first, then the others; read page by page.

        Args:
            name: only sets of this name.
        """
        call: Call[Page[DatasetDocument]] | None = set_calls.sets(name)
        while call is not None:
            page = self._transport.send(call)
            yield from (Dataset(self._transport, document) for document in page.entries)
            call = page.following

    def get(self, reference: str) -> Dataset:
        """One set.

        Args:
            reference: its identifier (``set_…``), its name and version (``photos@2``), its content (``ds_…``), or a
                name: of the newest version that is ready, else of the newest that is not.

        Raises:
            BadInputError: there is no such set.
        """
        if reference.startswith("set_"):
            return Dataset(self._transport, self._transport.send(set_calls.one(reference)))
        return meant(reference, self.list(name_in(reference)))

    def ingest(self, reference: str, *, wait: bool = True, progress: bool | Tell = False, **options: Any) -> Dataset:
        """Take an upload in once more, with other options; see :meth:`Dataset.ingest`."""
        with told(progress) as tell:
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
        if is_bare(reference):
            check_alone(reference, self.list(reference))
        self.get(reference).remove()

    def _announced(self, parcel: Parcel, content: Content) -> DatasetDocument:
        """The set that the bytes go to: one whose upload was cut, else a new one."""
        cut = parcel.cut(content, (one.document for one in self.list(parcel.name)))
        return cut or self._transport.send(set_calls.announce(parcel.name, content, parcel.options))
