"""Jobs that extend a finished one: what they extend, and what stands against it before anything is queued."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.artifacts import repository as artifacts
from app.artifacts.service import PARENT_BUNDLE
from app.core.errors import Invalid
from app.datasets.names import Names
from app.jobs.repository import JobRepository
from app.jobs.submission import Submission
from app.models.artifacts import Artifact
from app.models.jobs import Job
from app.models.states import Kind, State
from ddcore.spec import DATASETS, JobSpec, Problem, SpecError, parse
from ddcore.spec.living import NO_DIGESTS, NOTHING_TO_DO, lost, other_shape, unlike
from ddcore.spec.local_sets import names_in


@dataclass(frozen=True)
class Extending:
    """Resolves ``extends`` for the jobs of one principal.

    Attributes:
        session: any session.
        jobs: those of the principal.
        names: the datasets that they can name.
    """

    session: Session
    jobs: JobRepository
    names: Names

    def check(self, request: Submission) -> None:
        """Refuse a submission that extends what it cannot.

        Raises:
            Invalid: with every reason that can be told without the images.
        """
        if request.spec.extends is None:
            return
        problems = list(self._problems(request, request.spec.extends))
        if problems:
            raise Invalid(problems)

    def bundle(self, spec: JobSpec, tenant: str, source: str | None) -> Artifact | None:
        """The bundle that a job extends.

        Args:
            spec: the job.
            tenant: whose it is.
            source: a job that it is a copy of, or goes on from: that may hold the bundle of a job that is gone.

        Raises:
            Invalid: it is gone.
        """
        if spec.extends is None:
            return None
        found = artifacts.latest(self.session, tenant, spec.extends, "bundle")
        if found is None and source is not None:
            copied = self.jobs.get(source)
            if copied is not None and copied.spec.get("extends") == spec.extends:
                found = artifacts.latest(self.session, tenant, source, PARENT_BUNDLE)
        if found is None:
            raise Invalid([_fault("deleted", f"{spec.extends} was deleted a moment ago; extend another job")])
        return found

    def _problems(self, request: Submission, job_id: str) -> Iterator[Problem]:
        parent = self.jobs.get(job_id)
        if parent is None:
            yield _fault(
                "unknown_job",
                f"`extends` is {job_id}, and you have no such job, or it was deleted; name one of "
                "`ddctl list --status succeeded`, or leave `extends` out",
            )
        elif parent.kind != Kind.DISTILLATION or parent.status != State.SUCCEEDED:
            yield _fault(
                "job_not_finished",
                f"`extends` is {job_id}, which is {parent.status}, and only a job that has succeeded has images to "
                "keep; wait until it has, or name another",
            )
        else:
            yield from self._unfit(request, parent)

    def _unfit(self, request: Submission, parent: Job) -> Iterator[Problem]:
        try:
            before = parse(parent.spec, self.names.certain_facts)
        except SpecError as error:
            yield _fault("job_of_another_version", f"{parent.id} cannot be read by this version any more: {error}")
            return
        yield from unlike(request.spec, before)
        manifest = artifacts.latest(self.session, parent.tenant_id, parent.id, "manifest")
        known = (manifest.data or {}) if manifest is not None else {}
        if not known.get("class_digests"):
            yield _fault("no_class_digests", NO_DIGESTS)
            return
        facts = self.names.certain_facts(request.spec.dataset)
        if facts is not None:
            yield from filter(None, (other_shape(facts.shape, known["shape"]), lost(known["classes"], facts.classes)))
        if self._same_images(request, parent, str(known["digest"])):
            yield _fault("nothing_to_do", NOTHING_TO_DO)

    def _same_images(self, request: Submission, parent: Job, digest: str) -> bool:
        """Whether the dataset is certainly the one that was distilled; the engine knows of every class."""
        own = self.names.own(request.spec.dataset)
        if own is not None and own.content_id is not None:
            return digest.startswith(own.content_id.removeprefix("ds_"))
        built_in = request.spec.dataset in DATASETS and request.spec.dataset not in names_in(self.names.data_root)
        return built_in and parent.dataset == request.spec.dataset and parent.dataset_id is None


def _fault(code: str, detail: str) -> Problem:
    return Problem("/extends", code, detail)
