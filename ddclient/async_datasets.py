"""The user's own images for ``asyncio``: the same calls, documents and errors as :mod:`ddclient.datasets`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from typing import Any

from ddclient import set_calls
from ddclient.calls import Call, Page
from ddclient.dataset import DatasetHandle
from ddclient.models import DatasetDocument
from ddclient.options import options_of
from ddclient.packing import Content
from ddclient.parcels import Parcel, check_alone, is_bare, meant, name_in
from ddclient.progress import nothing, told
from ddclient.transport import AsyncTransport
from ddclient.uploads import Tell, Upload
from ddcore.spec.ingest import DatasetReport


class AsyncDatasets:
    """What :attr:`AsyncClient.datasets <ddclient.AsyncClient.datasets>` offers."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def add(
        self,
        images: Any,
        *,
        name: str | None = None,
        test: Any = None,
        classes: Sequence[str] | None = None,
        wait: bool = True,
        progress: bool | Tell = False,
        **options: Any,
    ) -> AsyncDataset:
        """Send images, and have them taken in as a set that jobs can name; see :meth:`Datasets.add`.

        Files are read, and objects in memory written, in another thread.
        """
        parcel = Parcel.of(images, name, test, classes, options)
        with told(progress) as tell, ExitStack() as held:
            content = await asyncio.to_thread(held.enter_context, parcel.opened())
            document = await self._announced(parcel, content)
            sent = await self._transport.upload(Upload(document, set_calls.one(str(document.id)), content, tell))
            dataset = AsyncDataset(self._transport, sent)
            return await dataset.wait(tell=tell) if wait else dataset

    async def list(self, name: str | None = None) -> AsyncIterator[AsyncDataset]:
        """The sets that a job can name; see :meth:`Datasets.list`."""
        call: Call[Page[DatasetDocument]] | None = set_calls.sets(name)
        while call is not None:
            page = await self._transport.send(call)
            for document in page.entries:
                yield AsyncDataset(self._transport, document)
            call = page.following

    async def get(self, reference: str) -> AsyncDataset:
        """One set; see :meth:`Datasets.get`.

        Raises:
            BadInputError: there is no such set.
        """
        if reference.startswith("set_"):
            return AsyncDataset(self._transport, await self._transport.send(set_calls.one(reference)))
        return meant(reference, [one async for one in self.list(name_in(reference))])

    async def remove(self, reference: str) -> None:
        """Delete a set of the user's own; see :meth:`Datasets.remove`.

        Raises:
            BadInputError: there is no such set, or the name has several.
            ProblemError: jobs that have not ended use it.
        """
        if is_bare(reference):
            check_alone(reference, [one async for one in self.list(reference)])
        await (await self.get(reference)).remove()

    async def _announced(self, parcel: Parcel, content: Content) -> DatasetDocument:
        known = [one.document async for one in self.list(parcel.name)]
        cut = parcel.cut(content, known)
        if cut is not None:
            return cut
        return await self._transport.send(set_calls.announce(parcel.name, content, parcel.options))


class AsyncDataset(DatasetHandle):
    """One dataset: its document as last read, and what can be done with it."""

    def __init__(self, transport: AsyncTransport, document: DatasetDocument) -> None:
        super().__init__(document)
        self._transport = transport

    async def refresh(self) -> AsyncDataset:
        """Read the document again."""
        self.document = await self._transport.send(set_calls.one(self.id))
        return self

    async def wait(self, timeout: float | None = None, *, tell: Tell = nothing) -> AsyncDataset:
        """Return once the set is ready; see :meth:`Dataset.wait`.

        Raises:
            DatasetFailedError: it could not be taken in, or that was cancelled.
            BadInputError: bytes of its upload are missing.
            TimeoutError: the time is up.
        """
        for pause in self._waits(timeout, tell):
            await asyncio.sleep(pause)
            await self.refresh()
        return self

    async def ingest(self, *, wait: bool = True, tell: Tell = nothing, **options: Any) -> AsyncDataset:
        """Take the upload in once more with other options; see :meth:`Dataset.ingest`."""
        self.document = await self._transport.send(set_calls.ingest(self.id, options_of(options)))
        return await self.wait(tell=tell) if wait else self

    async def report(self) -> DatasetReport:
        """What was found in the images."""
        return await self._transport.send(set_calls.report(self.id))

    async def cancel(self) -> AsyncDataset:
        """Stop taking it in; its upload is kept for a while."""
        job = (await self.refresh()).document.job
        if job is not None and not self.document.finished:
            await self._transport.send(set_calls.stop(job.id))
        return await self.refresh()

    async def remove(self) -> None:
        """Delete the set.

        Raises:
            ProblemError: jobs that have not ended use it.
        """
        await self._transport.send(set_calls.remove(self.id))
