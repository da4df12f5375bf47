"""What the client for ``asyncio`` does with studies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ddclient import study_calls
from ddclient.calls import Call
from ddclient.connection import AsyncConnection
from ddclient.study import StudyHandle
from ddclient.study_models import StudyDocument

if TYPE_CHECKING:
    from ddclient.async_client import AsyncClient, AsyncJob


class AsyncStudyClient(AsyncConnection):
    """The part of :class:`~ddclient.AsyncClient` that is about studies."""

    async def submit_study(
        self,
        request: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        ingest: Mapping[str, Any] | None = None,
    ) -> AsyncStudy:
        """Begin a study; see :meth:`Client.submit_study`. Images whose path it names are sent first.

        Raises:
            DatasetFailedError: the images could not be taken in.
        """
        base = request.get("base")
        if isinstance(base, Mapping):
            request = dict(request) | {"base": await self._with_images(base, ingest)}
        return await self._study(study_calls.submit(request, idempotency_key))

    async def get_study(self, study_id: str) -> AsyncStudy:
        """One study."""
        return await self._study(study_calls.study(study_id))

    async def studies(self, *, status: str | Sequence[str] | None = None) -> AsyncIterator[AsyncStudy]:
        """All studies, or those in a status or several, newest first."""
        async for document in self.pages(study_calls.studies(status)):
            yield AsyncStudy(cast("AsyncClient", self), document)

    async def act_on_study(self, study_id: str, verb: str) -> AsyncStudy:
        """``pause``, ``resume`` or ``cancel`` a study."""
        return await self._study(study_calls.verb(study_id, verb))

    async def delete_study(self, study_id: str) -> None:
        """Remove a study that has ended, with its jobs and their files."""
        await self.send(study_calls.delete(study_id))

    async def _study(self, call: Call[StudyDocument]) -> AsyncStudy:
        return AsyncStudy(cast("AsyncClient", self), await self.send(call))


class AsyncStudy(StudyHandle):
    """One study: its document as last read, and what is waited for."""

    def __init__(self, client: AsyncClient, document: StudyDocument) -> None:
        super().__init__(document)
        self.client = client

    async def job(self) -> AsyncJob:
        """The job of the winner.

        Raises:
            ClientError: no trial has won (yet).
        """
        return await self.client.job(self._winning_job())

    async def refresh(self) -> AsyncStudy:
        """Read the document again."""
        self.document = await self.client.send(study_calls.study(self.id))
        return self

    async def wait(
        self, timeout: float | None = None, *, on_change: Callable[[StudyDocument], None] | None = None
    ) -> AsyncStudy:
        """Return once the study has succeeded; see :meth:`Study.wait`.

        Raises:
            StudyFailedError: the study failed or was cancelled.
            TimeoutError: the time is up; the study goes on.
        """
        for seconds in self._until_ended(timeout):
            self.document = await self.client.send(study_calls.news(self.document, seconds))
            if on_change is not None:
                on_change(self.document)
        self._require_success()
        return self

    async def pause(self) -> AsyncStudy:
        """Have its jobs save their state and free their workers."""
        return await self._act("pause")

    async def resume(self) -> AsyncStudy:
        """Go on where it was paused."""
        return await self._act("resume")

    async def cancel(self) -> AsyncStudy:
        """Stop it and its jobs for good."""
        return await self._act("cancel")

    async def _act(self, verb: str) -> AsyncStudy:
        self.document = (await self.client.act_on_study(self.id, verb)).document
        return self
