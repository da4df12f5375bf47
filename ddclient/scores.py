"""Sets that others made, scored by the service: sent, listed, ranked, deleted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from ddclient import score_calls
from ddclient.calls import Call, Page
from ddclient.foreign_files import content_of
from ddclient.progress import told
from ddclient.score import AsyncScore, Score
from ddclient.score_models import Leaderboard, ScoreDocument
from ddclient.transport import AsyncTransport, Transport
from ddclient.uploads import Tell, Upload


class Scores:
    """What :attr:`Client.scores <ddclient.Client.scores>` offers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def add(
        self,
        file: str | os.PathLike[str],
        dataset: str,
        recipe: Mapping[str, Any] | None = None,
        *,
        values: str | None = None,
        labels: str | os.PathLike[str] | None = None,
        ipc: int | None = None,
        name: str | None = None,
        wait: bool = True,
        progress: bool | Tell = False,
        priority: int | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> Score:
        """Send a distilled set that others made, and have it scored beside real images of the same number.

        Args:
            file: ``.pt``, ``.npz``, ``.safetensors`` or parquet, or a folder or archive of images by class.
            dataset: that was distilled, as a job names it.
            recipe: fields of a job that decide a score, such as ``{"evaluation": {"protocol": "dm"}}``. Default: those
                of a job.
            values: units of the pixels: ``unit``, ``byte`` or ``normalised``. Default: by their range.
            labels: ``.pt`` file of the labels, for a ``.pt`` file of images; also found beside it.
            ipc: images of each class, by which the time of scoring is estimated.
            name: what to call it.
            wait: block until it is scored.
            progress: show a bar on standard error, or a function to tell: what is going on (``sending``, ``queued``, a
                phase), how far it is, and of how much.
            priority: 0 (last) to 9 (first).
            limits: as of a job.

        Raises:
            BadInputError: the file cannot be sent.
            ScoreFailedError: it could not be scored.
            ProblemError: the service refused.
        """
        fields = _fields(recipe, values=values, ipc=ipc, name=name, priority=priority, limits=limits)
        content = content_of(file, labels)
        with told(progress) as tell:
            document = self._transport.send(score_calls.announce(content, dataset, fields))
            sent = self._transport.upload(Upload(document, score_calls.one(document.id), content, tell))
            score = Score(self._transport, sent)
            return score.wait(tell=tell) if wait else score

    def list(self, dataset: str | None = None) -> Iterator[Score]:
        """The scores, newest first, read page by page.

        Args:
            dataset: only those on this dataset.
        """
        call: Call[Page[ScoreDocument]] | None = score_calls.scores(dataset)
        while call is not None:
            page = self._transport.send(call)
            yield from (Score(self._transport, document) for document in page.entries)
            call = page.following

    def get(self, score_id: str) -> Score:
        """One score."""
        return Score(self._transport, self._transport.send(score_calls.one(score_id)))

    def delete(self, score_id: str) -> None:
        """Delete a score, with its place on the leaderboard."""
        self._transport.send(score_calls.delete(score_id))

    def leaderboard(self, dataset: str | None = None, ipc: int | None = None) -> Leaderboard:
        """Everything that is scored, jobs' sets and those of others, ranked within each recipe.

        Args:
            dataset: on which. Default: that on which something was scored last.
            ipc: images of each class. Default: likewise.
        """
        return self._transport.send(score_calls.leaderboard(dataset, ipc))


class AsyncScores:
    """What :attr:`AsyncClient.scores <ddclient.AsyncClient.scores>` offers."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def add(
        self,
        file: str | os.PathLike[str],
        dataset: str,
        recipe: Mapping[str, Any] | None = None,
        *,
        values: str | None = None,
        labels: str | os.PathLike[str] | None = None,
        ipc: int | None = None,
        name: str | None = None,
        wait: bool = True,
        progress: bool | Tell = False,
        priority: int | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> AsyncScore:
        """Send a distilled set that others made, and have it scored; see :meth:`Scores.add`."""
        fields = _fields(recipe, values=values, ipc=ipc, name=name, priority=priority, limits=limits)
        content = await asyncio.to_thread(content_of, file, labels)
        with told(progress) as tell:
            document = await self._transport.send(score_calls.announce(content, dataset, fields))
            sent = await self._transport.upload(Upload(document, score_calls.one(document.id), content, tell))
            score = AsyncScore(self._transport, sent)
            return await score.wait(tell=tell) if wait else score

    async def list(self, dataset: str | None = None) -> AsyncIterator[AsyncScore]:
        """The scores, newest first; see :meth:`Scores.list`."""
        call: Call[Page[ScoreDocument]] | None = score_calls.scores(dataset)
        while call is not None:
            page = await self._transport.send(call)
            for document in page.entries:
                yield AsyncScore(self._transport, document)
            call = page.following

    async def get(self, score_id: str) -> AsyncScore:
        """One score."""
        return AsyncScore(self._transport, await self._transport.send(score_calls.one(score_id)))

    async def delete(self, score_id: str) -> None:
        """Delete a score, with its place on the leaderboard."""
        await self._transport.send(score_calls.delete(score_id))

    async def leaderboard(self, dataset: str | None = None, ipc: int | None = None) -> Leaderboard:
        """Everything that is scored, ranked within each recipe; see :meth:`Scores.leaderboard`."""
        return await self._transport.send(score_calls.leaderboard(dataset, ipc))


def _fields(recipe: Mapping[str, Any] | None, **given: Any) -> dict[str, Any]:
    """What an announcement says beside the file and the dataset."""
    return {"recipe": dict(recipe or {}), **given}
