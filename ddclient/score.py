"""Handles on one score of the service."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from ddclient import score_calls
from ddclient.errors import BadInputError, ScoreFailedError
from ddclient.handle import Handle
from ddclient.progress import nothing
from ddclient.score_models import ScoreDocument
from ddclient.transport import AsyncTransport, Transport
from ddclient.uploads import Tell
from ddcore.spec.results import Results


class ScoreHandle(Handle[ScoreDocument]):
    """One score: its document as last read."""

    @property
    def results(self) -> Results:
        """What the set comes to.

        Raises:
            BadInputError: it is not scored yet, as far as is known here.
        """
        if self.document.results is None:
            raise BadInputError(f"{self.id} is {self.status}; it has results once it has succeeded")
        return self.document.results

    def _waits(self, timeout: float | None, tell: Tell) -> Iterator[float]:
        """Seconds to wait before the document is read again, until the score has ended.

        Raises:
            ScoreFailedError: the set could not be scored, or that was cancelled.
            BadInputError: bytes of its file are missing.
            TimeoutError: the time is up.
        """
        for pause in self._pauses(timeout):
            if not self.document.complete:
                raise BadInputError(f"bytes of {self.id} are missing; send the file again as a new score")
            self._tell(tell)
            yield pause
        self._tell(tell)
        if self.status != "succeeded":
            failure = self.document.error
            raise ScoreFailedError(self.id, self.status, failure.message if failure else None)

    def _tell(self, tell: Tell) -> None:
        job = self.document.job
        running = self.status == "running" and job is not None and job.phase is not None
        what = str(job.phase) if running and job is not None else self.status
        tell(what, job.done if job else 0, job.total if job else None)


class Score(ScoreHandle):
    """One score: its document as last read, and what can be done with it."""

    def __init__(self, transport: Transport, document: ScoreDocument) -> None:
        super().__init__(document)
        self._transport = transport

    def refresh(self) -> Score:
        """Read the document again."""
        self.document = self._transport.send(score_calls.one(self.id))
        return self

    def wait(self, timeout: float | None = None, *, tell: Tell = nothing) -> Score:
        """Block until the set is scored.

        Args:
            timeout: give up after this many seconds; the service goes on.
            tell: told which phase it is in, and how far that is.

        Raises:
            ScoreFailedError: the set could not be scored, or that was cancelled.
            BadInputError: bytes of its file are missing.
            TimeoutError: the time is up.
        """
        for pause in self._waits(timeout, tell):
            time.sleep(pause)
            self.refresh()
        return self

    def cancel(self) -> Score:
        """Stop scoring it."""
        self.document = self._transport.send(score_calls.cancel(self.id))
        return self

    def delete(self) -> None:
        """Delete it, with its place on the leaderboard."""
        self._transport.send(score_calls.delete(self.id))


class AsyncScore(ScoreHandle):
    """The same for ``asyncio``."""

    def __init__(self, transport: AsyncTransport, document: ScoreDocument) -> None:
        super().__init__(document)
        self._transport = transport

    async def refresh(self) -> AsyncScore:
        """Read the document again."""
        self.document = await self._transport.send(score_calls.one(self.id))
        return self

    async def wait(self, timeout: float | None = None, *, tell: Tell = nothing) -> AsyncScore:
        """Return once the set is scored; see :meth:`Score.wait`."""
        for pause in self._waits(timeout, tell):
            await asyncio.sleep(pause)
            await self.refresh()
        return self

    async def cancel(self) -> AsyncScore:
        """Stop scoring it."""
        self.document = await self._transport.send(score_calls.cancel(self.id))
        return self

    async def delete(self) -> None:
        """Delete it, with its place on the leaderboard."""
        await self._transport.send(score_calls.delete(self.id))
