"""What can go wrong between a client and the service, said so that the reader can act."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar

from ddcore.spec import Problem
from ddcore.version import __version__


class Exit(IntEnum):
    """Status that ``ddctl`` ends with: the outcome of the job, or why there is none."""

    SUCCEEDED = 0
    FAILED = 1
    """The job failed or expired, or the command could not do its work."""
    BAD_INPUT = 2
    """An option, a file or a specification cannot be used."""
    CANCELLED = 3
    """The job was cancelled."""
    UNREACHABLE = 4
    """No service answers."""
    REFUSED = 5
    """The service refused: no valid key, no such job, or not possible now."""
    RESUMABLE = 75
    """The job was paused, or the run interrupted, with its state saved."""
    DETACHED = 130
    """Ctrl-C; what runs in the service goes on."""


class ClientError(Exception):
    """Base of every error of the client; the message is for the user. ``code`` is stable, for programs."""

    code: ClassVar[str] = "client_error"

    @property
    def exit_code(self) -> int:
        """Status that ``ddctl`` ends with."""
        return Exit.FAILED

    def as_dict(self) -> dict[str, Any]:
        """The error as ``--json`` prints it."""
        return {"code": self.code, "message": str(self)}


class BadInputError(ClientError):
    """An argument or a file that cannot be used."""

    code = "bad_input"

    @property
    def exit_code(self) -> int:
        """Status that ``ddctl`` ends with."""
        return Exit.BAD_INPUT


class UnreachableError(ClientError):
    """Nothing, or something else, answers at the address of the service."""

    code = "unreachable"

    @property
    def exit_code(self) -> int:
        """Status that ``ddctl`` ends with."""
        return Exit.UNREACHABLE


class UnreadableAnswerError(ClientError):
    """An answer of success that is not what this version of the client expects.

    Args:
        request: the method and path of what was asked.
        reason: what was not as expected.
    """

    code = "unreadable_answer"

    def __init__(self, request: str, reason: str) -> None:
        super().__init__(
            f"the answer to {request} was not understood ({reason}): something else than the service answers at this "
            f"address, or it has another version than this client, {__version__}; `curl ADDRESS/healthz` tells which"
        )


class DownloadError(ClientError):
    """What arrived is not what the service promised (digest, size, file names)."""

    code = "bad_download"


class JobFailedError(ClientError):
    """A job that was waited for ended without a result.

    Attributes:
        job_id: the job.
        status: ``failed``, ``expired`` or ``cancelled``.
    """

    code = "job_failed"

    def __init__(self, job_id: str, status: str, reason: str | None) -> None:
        self.job_id = job_id
        self.status = status
        super().__init__(f"{job_id} {status}" + (f": {reason}" if reason else ""))


class StudyFailedError(ClientError):
    """A study that was waited for ended without a winner.

    Attributes:
        study_id: the study.
        status: ``failed`` or ``cancelled``.
    """

    code = "study_failed"

    def __init__(self, study_id: str, status: str, reason: str | None) -> None:
        self.study_id = study_id
        self.status = status
        super().__init__(f"{study_id} {status}" + (f": {reason}" if reason else ""))

    @property
    def exit_code(self) -> int:
        """Status that ``ddctl`` ends with."""
        return Exit.CANCELLED if self.status == "cancelled" else Exit.FAILED


class DatasetFailedError(ClientError):
    """Images of a user's own that could not be taken in, or no longer are.

    Attributes:
        dataset_id: the set, ``set_…``. Its upload is kept for a while, and can be taken in with other options.
        name: of the set.
        state: ``failed`` or ``cancelled``.
        reason: what the service says.
        hint: what to do about it; part of the message.
    """

    code = "dataset_failed"

    def __init__(self, dataset_id: str, name: str, state: str, reason: str | None, hint: str = "") -> None:
        self.dataset_id, self.name, self.state, self.reason, self.hint = dataset_id, name, state, reason, hint
        what = "could not be taken in" if state == "failed" else f"was not taken in, it is {state}"
        super().__init__(f"{name} {what}{f': {reason}' if reason else ''}{hint}")

    @property
    def exit_code(self) -> int:
        """Status that ``ddctl`` ends with."""
        return Exit.CANCELLED if self.state == "cancelled" else Exit.FAILED

    def as_dict(self) -> dict[str, Any]:
        """The error as ``--json`` prints it."""
        return super().as_dict() | {"dataset_id": self.dataset_id}


class ScoreFailedError(ClientError):
    """A set that others made, which could not be scored.

    Attributes:
        score_id: the score, ``score_…``.
        status: ``failed``, ``cancelled`` or ``expired``.
        reason: what the service says.
    """

    code = "score_failed"

    def __init__(self, score_id: str, status: str, reason: str | None) -> None:
        self.score_id, self.status, self.reason = score_id, status, reason
        super().__init__(f"{score_id} is {status}{f': {reason}' if reason else ''}")

    @property
    def exit_code(self) -> int:
        """Status that ``ddctl`` ends with."""
        return Exit.CANCELLED if self.status == "cancelled" else Exit.FAILED

    def as_dict(self) -> dict[str, Any]:
        """The error as ``--json`` prints it."""
        return super().as_dict() | {"score_id": self.score_id}


class ProblemError(ClientError):
    """The service refused a request and said why (RFC 9457).

    Attributes:
        status: HTTP status.
        problem_code: stable code of the service, such as ``unknown_dataset``.
        problems: the faults of the request body, where it was the body.
        allowed: what could be done instead, where the service says so.
        retry_after: seconds after which the request may succeed, if it may.
        document: the whole problem document.
    """

    code = "refused"

    def __init__(self, status: int, document: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.document = dict(document)
        self.problem_code = str(document.get("code", f"http_{status}"))
        self.retry_after = retry_after
        self.allowed = tuple(str(verb) for verb in document.get("allowed") or ())
        self.problems = tuple(
            Problem(str(item.get("pointer", "")), str(item.get("code", "")), str(item.get("detail", "")))
            for item in document.get("errors") or ()
        )
        super().__init__(self._text())

    @property
    def rate_limited(self) -> bool:
        """Whether somebody asked too often, which passes by itself; the service's other 429 is a quota, which does not.

        A proxy before the service says it without a code.
        """
        return self.status == 429 and self.problem_code in {"rate_limited", "http_429"}

    def _text(self) -> str:
        title = str(self.document.get("title") or f"HTTP {self.status}")
        detail = self.document.get("detail")
        lines = [f"{title}: {detail}" if detail and detail != title else title]
        lines += [f"  {p.pointer or '/'}: {p.detail}" for p in self.problems]
        if self.allowed:
            lines.append(f"  allowed now: {', '.join(self.allowed)}")
        if self.status == 401:
            lines.append("  set DD_API_KEY, or DD_HOME to the state folder of the service that made the key")
        return "\n".join(lines)

    @property
    def exit_code(self) -> int:
        """Bad input where the request is at fault, unreachable where the service is away, else refused."""
        if self.status in {400, 413, 415, 422}:
            return Exit.BAD_INPUT
        return Exit.UNREACHABLE if self.status in {502, 503, 504} else Exit.REFUSED

    def as_dict(self) -> dict[str, Any]:
        """The error as ``--json`` prints it, with the service's own document."""
        return {"code": self.problem_code, "message": str(self), "problem": self.document}
