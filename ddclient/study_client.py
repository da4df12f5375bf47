"""What a client does with studies."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ddclient import study_calls
from ddclient.calls import Call
from ddclient.connection import Connection
from ddclient.errors import BadInputError
from ddclient.study import Studies, Study
from ddclient.study_models import StudyDocument
from ddcore.spec.ranges import read_values

if TYPE_CHECKING:
    from ddclient.client import Client


class StudyClient(Connection):
    """The part of :class:`~ddclient.Client` that is about studies."""

    def study(
        self,
        dataset: str | os.PathLike[str],
        *,
        ipc: int | None = None,
        space: Mapping[str, Any] | None = None,
        jobs: int | None = None,
        minutes: float | None = None,
        objective: str | None = None,
        seeds: Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
        ingest: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Study:
        """Begin a study: a search for the job that does best, which stops the others early.

        Without ``space`` it is the automatic study, which chooses the method and its settings by itself.

        Args:
            dataset: name of the dataset, or a path of images, as for :meth:`Client.distill`.
            ipc: synthetic images per class; may be a key of ``space`` instead.
            space: values by path, such as ``{"method": ["dm", "idm"], "regularizers.mim.weight": "0.1..10:5:log"}``:
                a list, a line as :func:`ddcore.spec.ranges.read_values` reads it, or ``from``, ``to``, ``count`` and
                ``scale``.
            jobs: budget: at most so many jobs.
            minutes: budget: about so many minutes.
            objective: ``accuracy``, ``accuracy_per_minute`` or ``accuracy_per_byte``. Default: ``accuracy``.
            seeds: of each trial, a job for each. Default: 0.
            options: any other field of a study: ``sampler`` (``grid``, ``random`` or ``tpe``), ``seed``, ``rungs``,
                ``reduction``, ``scoring``.
            name: what to call the study.
            labels: names and values to find it by.
            priority: 0 (last) to 9 (first), of its jobs.
            idempotency_key: as for :meth:`Client.submit`.
            ingest: how images are taken in.
            fields: of the job that all trials share (``regularizers``, ``network``, ``evaluation``, …).

        Raises:
            BadInputError: a line of ``space`` cannot be read, or both budgets are given.
            DatasetFailedError: the images could not be taken in.
        """
        base = {"dataset": dataset, **({} if ipc is None else {"ipc": ipc}), **fields}
        if space is None:
            base.setdefault("method", "auto")
        request = dict(options or {}) | {"base": base} | budget(jobs, minutes)
        given = {
            "space": None if space is None else {path: values(path, one) for path, one in space.items()},
            "objective": objective, "seeds": None if seeds is None else list(seeds),
            "name": name, "labels": labels, "priority": priority,
        }  # fmt: skip
        request |= {field: value for field, value in given.items() if value is not None}
        return self.submit_study(request, idempotency_key=idempotency_key, ingest=ingest)

    def submit_study(
        self,
        request: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        ingest: Mapping[str, Any] | None = None,
    ) -> Study:
        """Begin a study as the REST API takes it.

        Args:
            request: ``base`` (a job), ``space`` and ``budget``, and what else a study has. Where ``base.dataset`` is a
                path, the images are sent first.
            idempotency_key: as for :meth:`Client.submit`.
            ingest: how images are taken in.

        Raises:
            DatasetFailedError: the images could not be taken in.
        """
        base = request.get("base")
        if isinstance(base, Mapping):
            request = dict(request) | {"base": self._with_images(base, ingest)}
        return self._study(study_calls.submit(request, idempotency_key))

    def validate_study(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Check a study without beginning it; what it would try, and what that should cost."""
        return self._transport.send(study_calls.validate(request))

    def get_study(self, study_id: str) -> Study:
        """One study."""
        return self._study(study_calls.study(study_id))

    def studies(self, *, status: str | Sequence[str] | None = None) -> Studies:
        """All studies, or those in a status or several, newest first, fetched page by page as they are read."""
        return Studies(cast("Client", self), study_calls.studies(status))

    def next_study(self, document: StudyDocument, seconds: float) -> StudyDocument:
        """A study's document once its version changes, or after ``seconds``, whichever is first."""
        return self._transport.send(study_calls.news(document, seconds))

    def act_on_study(self, study_id: str, verb: str) -> Study:
        """``pause``, ``resume`` or ``cancel`` a study."""
        return self._study(study_calls.verb(study_id, verb))

    def delete_study(self, study_id: str) -> None:
        """Remove a study that has ended, with its jobs and their files."""
        self._transport.send(study_calls.delete(study_id))

    def _study(self, call: Call[StudyDocument]) -> Study:
        return Study(cast("Client", self), self._transport.send(call))


def budget(jobs: int | None, minutes: float | None) -> dict[str, Any]:
    """The budget of a request; none where nothing is given, for the service to say what it wants.

    Raises:
        BadInputError: both are given.
    """
    if jobs is not None and minutes is not None:
        raise BadInputError(f"a study has one budget, but {jobs} jobs and {minutes:g} minutes are given; leave one out")
    if jobs is None and minutes is None:
        return {}
    return {"budget": {"jobs": jobs} if minutes is None else {"minutes": minutes}}


def values(path: str, given: Any) -> Any:
    """The values of a path of a space; a line is read.

    Raises:
        BadInputError: it cannot be read.
    """
    if not isinstance(given, str):
        return given
    try:
        return read_values(given)
    except ValueError as error:
        raise BadInputError(f"`space` at `{path}`: {error}") from error
