"""A handle on one study."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from ddclient import study_tables
from ddclient.calls import Call, Page
from ddclient.errors import ClientError, StudyFailedError
from ddclient.frames import frame
from ddclient.handle import Handle
from ddclient.job import SHOWN
from ddclient.study_models import StudyDocument, Trial, Winner

if TYPE_CHECKING:
    from pandas import DataFrame

    from ddclient.client import Client
    from ddclient.job import Job


class StudyHandle(Handle[StudyDocument]):
    """One study: its document as last read."""

    def _repr_html_(self) -> str:
        """The study and its trials as tables, which notebooks show."""
        return study_tables.study(self.document)

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The points of the space that it tries, with their scores, in the order of their indices."""
        return self.document.trials

    @property
    def winner(self) -> Winner | None:
        """The trial that won, with its evidence, once it is known."""
        return self.document.winner

    def to_pandas(self) -> DataFrame:
        """The trials as a table of pandas: a row for each, its values by path, then how far it got and its last score.

        Raises:
            ClientError: pandas is not installed.
        """
        return frame(row(trial) for trial in self.trials)

    def _winning_job(self) -> str:
        if self.winner is None:
            raise ClientError(f"{self.id} is {self.status} and has no winner" + ("" if self.finished else " yet"))
        return self.winner.job_id

    def _require_success(self) -> None:
        if self.status != "succeeded":
            failure = self.document.error
            raise StudyFailedError(self.id, self.status, failure.message if failure else None)


def row(trial: Trial) -> dict[str, Any]:
    """A trial as a row of a table.

    >>> row(Trial(index=0, status="waiting", values={"ipc": 2}))["ipc"]
    2
    """
    last = trial.scores[-1] if trial.scores else None
    found = {
        "trial": trial.index, **trial.values, "status": trial.status, "rung": trial.rung,
        "iterations": trial.iterations, "step": None, "accuracy": None, "deviation": None, "networks": None,
        "objective": None, "runtime_s": trial.runtime_s, "job": trial.jobs[0] if trial.jobs else None,
        "reason": trial.reason,
    }  # fmt: skip
    if last is not None:
        read = ("step", "accuracy", "deviation", "networks", "objective")
        found |= {name: getattr(last, name) for name in read}
    return found


class Study(StudyHandle):
    """One study: its document as last read, and what can be done with it."""

    def __init__(self, client: Client, document: StudyDocument) -> None:
        super().__init__(document)
        self.client = client

    @property
    def job(self) -> Job:
        """The job of the winner, read now.

        Raises:
            ClientError: no trial has won (yet).
        """
        return self.client.job(self._winning_job())

    def refresh(self) -> Study:
        """Read the document again."""
        self.document = self.client.get_study(self.id).document
        return self

    def wait(
        self,
        timeout: float | None = None,
        *,
        progress: bool = False,
        on_change: Callable[[StudyDocument], None] | None = None,
    ) -> Study:
        """Block until the study ends.

        Args:
            timeout: give up after this many seconds; the study goes on.
            progress: show a line for each rung on standard error.
            on_change: called with each new document.

        Raises:
            StudyFailedError: the study failed or was cancelled.
            TimeoutError: the time is up.
        """
        waits = self._until_ended(timeout)
        if progress:
            self.watch(timeout)
        for seconds in waits:
            self.document = self.client.next_study(self.document, seconds)
            if on_change is not None:
                on_change(self.document)
        self._require_success()
        return self

    def watch(self, timeout: float | None = None) -> StudyDocument:
        """Show the study, a line for each rung on standard error, until it ends, is paused or the time is up."""
        from ddclient.study_live import watch

        return watch(self, timeout=timeout)

    def pause(self) -> Study:
        """Have its jobs save their state and free their workers."""
        return self._act("pause")

    def resume(self) -> Study:
        """Go on where it was paused."""
        return self._act("resume")

    def cancel(self) -> Study:
        """Stop it and its jobs for good; what was scored stays to be read."""
        return self._act("cancel")

    def delete(self) -> None:
        """Remove it, which has ended, with its jobs and their files."""
        self.client.delete_study(self.id)

    def _act(self, verb: str) -> Study:
        self.document = self.client.act_on_study(self.id, verb).document
        return self


class Studies(Iterator[Study]):
    """The studies of a list, fetched page by page as they are read.

    Args:
        client: whose they are.
        call: for the first page.
    """

    def __init__(self, client: Client, call: Call[Page[StudyDocument]]) -> None:
        self._client, self._call = client, call
        self._documents = client.pages(call)

    def __next__(self) -> Study:
        return Study(self._client, next(self._documents))

    def _repr_html_(self) -> str:
        """The first of them as a table, which notebooks show; none counts as read by that."""
        return study_tables.studies(islice(self._client.pages(self._call), SHOWN))
