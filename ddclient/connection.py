"""What every part of a client has: requests that travel, lists fetched page by page, images sent before they are named.

``Client`` and ``AsyncClient`` are put together of parts, each about one subject; a part is a :class:`Connection`, or an
:class:`AsyncConnection`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, TypeVar

from ddclient import images
from ddclient.async_datasets import AsyncDatasets
from ddclient.calls import Call, Page
from ddclient.datasets import Datasets
from ddclient.scores import AsyncScores, Scores
from ddclient.transport import AsyncTransport, Transport
from ddcore.spec import JobSpec

T = TypeVar("T")
Spec = Mapping[str, Any] | JobSpec


class Connection:
    """A connection that blocks until it is answered."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.datasets = Datasets(transport)
        """Images of the user's own: sent, listed, fetched, removed."""
        self.scores = Scores(transport)
        """Sets that others made: sent to be scored, listed, ranked, deleted."""

    def pages(self, call: Call[Page[T]] | None) -> Iterator[T]:
        """The entries of a list, fetched page by page."""
        while call is not None:
            page = self._transport.send(call)
            yield from page.entries
            call = page.following

    def _with_images(self, spec: Spec, ingest: Mapping[str, Any] | None) -> Spec:
        """A specification that names a set, which was a path of images before."""
        path = images.path_in(spec, ingest)
        return spec if path is None else images.on(spec, self.datasets.add(path, **ingest or {}).reference)


class AsyncConnection:
    """A connection for ``asyncio``."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self.datasets = AsyncDatasets(transport)
        """Images of the user's own: sent, listed, removed."""
        self.scores = AsyncScores(transport)
        """Sets that others made: sent to be scored, listed, ranked, deleted."""

    async def send(self, call: Call[T]) -> T:
        """Make any call of :mod:`ddclient.calls`, such as ``calls.menu("methods")``."""
        return await self._transport.send(call)

    async def pages(self, call: Call[Page[T]] | None) -> AsyncIterator[T]:
        """The entries of a list, fetched page by page."""
        while call is not None:
            page = await self.send(call)
            for entry in page.entries:
                yield entry
            call = page.following

    async def _with_images(self, spec: Spec, ingest: Mapping[str, Any] | None) -> Spec:
        """A specification that names a set, which was a path of images before."""
        path = images.path_in(spec, ingest)
        return spec if path is None else images.on(spec, (await self.datasets.add(path, **ingest or {})).reference)
