"""What somebody has typed into the form of a job so far, and what that comes to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.core.errors import Invalid, NotFound
from app.dashboard import snippets
from app.dashboard.job_form import schema
from app.dashboard.job_form.faults import NO_FAULTS, Faults, placed
from app.dashboard.job_form.field import Field
from app.dashboard.job_form.fields import fields
from app.dashboard.job_form.known import NOTHING, Known
from app.dashboard.job_form.reading import read
from app.dashboard.job_form.spelling import spell
from app.datasets.names import Names
from app.jobs.schemas import Envelope, JobDocument, Validation
from app.jobs.transactions import JobTransactions
from ddcore.spec import DatasetFacts, SpecError, all_presets, parse

BESIDE = ("do", "key", "clone", "outline")
"""Fields of the form that say nothing of the job itself."""


@dataclass(frozen=True)
class Draft:
    """The fields of a form, by path, and the job that it copies, if it does."""

    values: Mapping[str, str]
    clone: str = ""

    @property
    def body(self) -> dict[str, Any]:
        """The submission that it says."""
        return read(schema.submission(), self.values)

    @property
    def paths(self) -> list[str]:
        """Every field that a form with these values has."""
        return [one.path for top in self.fields().values() for one in top.all()]

    @property
    def outline(self) -> str:
        """What decides which fields the form has: what is chosen by name, and what is ticked."""
        everything = (one for top in self.fields().values() for one in top.all())
        return " ".join(f"{one.path}={one.value}" for one in everything if one.decides)

    @property
    def left_out(self) -> Sequence[tuple[str, str]]:
        """What was typed into fields that the form no longer has: (path, text)."""
        known = set(self.paths)
        return [(path, text) for path, text in self.values.items() if text.strip() and path not in known]

    def fields(self, faults: Faults = NO_FAULTS, known: Known = NOTHING) -> dict[str, Field]:
        """The fields of the form, by name of those at the top."""
        return fields(schema.submission(), self.values, faults, known)


@dataclass(frozen=True)
class Judgement:
    """What the service says of a draft: it would become a job, or what is wrong with it."""

    faults: Faults
    validation: Validation | None = None
    known: Known = NOTHING
    """What holds where nothing is typed."""
    facts: DatasetFacts | None = None
    """What is known of the dataset."""
    over: str | None = None
    """Why the quota has no room for it."""


def judged(draft: Draft, jobs: JobTransactions, *, sent: bool) -> Judgement:
    """Judge a draft as ``POST /v1/jobs:validate`` does.

    Args:
        draft: what was typed.
        jobs: those of the tenant that submits it.
        sent: whether the user meant to be done.
    """
    body, name = draft.body, draft.values.get("dataset", "").strip()
    plain = plain_job(body)
    with jobs.read() as lookup:
        facts = Names.of(lookup.session, jobs.principal, jobs.settings).facts(name) if name else None
    try:
        validation, refused = jobs.foresee(body)
        over = None if refused is None else refused.detail
    except Invalid as error:
        return Judgement(placed(error.problems, body, draft.paths, sent=sent), None, Known(plain, plain), facts)
    return Judgement(NO_FAULTS, validation, Known(validation.spec, plain), facts, over)


def plain_job(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A job by the method and the protocol of a submission, and nothing else of it; ``None`` where they are wrong."""
    method, evaluation = body.get("method"), body.get("evaluation")
    named = {"method": method["name"] if isinstance(method, Mapping) else method, "dataset": "digits", "ipc": 1}
    if isinstance(evaluation, Mapping) and "protocol" in evaluation:
        named["evaluation"] = {"protocol": evaluation["protocol"]}
    try:
        return parse(named).model_dump(mode="json")
    except SpecError:
        return None


def from_form(sent: Mapping[str, str]) -> Draft:
    """A draft as the form sends it."""
    return Draft({name: text for name, text in sent.items() if name not in BESIDE}, sent.get("clone", ""))


def from_preset(name: str) -> Draft:
    """A draft with the job of a preset.

    Raises:
        NotFound: there is no such preset.
    """
    if name not in all_presets():
        raise NotFound(f"there is no preset {name}")
    return Draft(spell(schema.submission(), all_presets()[name].job))


def from_job(job: JobDocument, usual_limits: Mapping[str, float]) -> Draft:
    """A draft of a copy of a job.

    Args:
        job: a job that distils.
        usual_limits: those that a job has which names none; they need not be typed.
    """
    limits = {name: limit for name, limit in job.limits.model_dump().items() if usual_limits.get(name, limit) != limit}
    beside = {"labels": job.labels, "priority": job.priority, "limits": limits}
    usual: tuple[object, ...] = ({}, Envelope().priority)
    body = snippets.submission(job) | {name: value for name, value in beside.items() if value not in usual}
    return Draft(spell(schema.submission(), body), clone=job.id)
