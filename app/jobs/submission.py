"""From a request's body to a job that can be run, or to every fault in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from app.core.errors import Invalid
from app.core.ids import new_id
from app.core.security import Principal
from app.core.settings import Settings
from app.datasets.documents import reference
from app.datasets.names import Names
from app.jobs.schemas import Envelope
from app.models.jobs import Job
from app.models.states import State
from ddcore.spec import DatasetFacts, JobSpec, Problem, SpecError, parse
from ddcore.spec.backbones import USUAL_PARAMETERS, USUAL_SIDE
from ddcore.spec.errors import problems
from ddcore.spec.weight_files import backbones_of, completed

MAX_SPEC_BYTES = 64 * 1024
AUTO = "auto"
"""Method of an automatic study, which no job has."""


@dataclass(frozen=True)
class Submission:
    """A request that can become a job."""

    spec: JobSpec
    envelope: Envelope
    dataset_id: str | None = None
    """The user's own set that it distils; ``None`` for a set that workers find by its name."""


def read(body: Mapping[str, Any], names: Names) -> Submission:
    """Read a submission in either spelling of the specification, or as a preset with overrides.

    A user's own set is pinned: ``photos`` becomes ``photos@2``, so that a job, its copies and its retries see one set.
    So are the weights that it names, by their hash.

    Args:
        body: of the request.
        names: the datasets and weights that it can name.

    Raises:
        Invalid: with every fault of the specification and of what stands beside it.
    """
    beside = {name: value for name, value in body.items() if name in Envelope.model_fields}
    rest = {name: value for name, value in body.items() if name not in Envelope.model_fields}
    found: list[Problem] = []
    envelope, spec, dataset_id = Envelope(), None, None
    try:
        envelope = Envelope.model_validate(beside)
    except ValidationError as error:
        found += problems(error, tuple(Envelope.model_fields))
    size = len(json.dumps(rest))
    if size > MAX_SPEC_BYTES:
        raise Invalid(
            [
                Problem(
                    "", "specification_too_large", f"the specification has {size} bytes; the limit is {MAX_SPEC_BYTES}"
                )
            ]
        )
    if _method(rest) == AUTO:
        detail = (
            "`method` 'auto' tries several, which is a study: POST /v1/studies with "
            '{"base": {…, "method": "auto"}, "budget": {"minutes": 20}}'
        )
        raise Invalid([*found, Problem("/method", "needs_a_study", detail)])
    try:
        spec = completed(parse(rest, names.certain_facts), names.backbones)
        own = names.check(spec.dataset)
        if own is not None:
            spec, dataset_id = spec.model_copy(update={"dataset": reference(own)}), own.id
    except (SpecError, Invalid) as error:
        found += error.problems
    if found or spec is None:
        raise Invalid(found)
    return Submission(spec, envelope, dataset_id)


def _method(body: Mapping[str, Any]) -> object:
    """What a body calls its method."""
    method = body.get("method")
    return method.get("name") if isinstance(method, Mapping) else method


def new_job(submission: Submission, principal: Principal, settings: Settings, parent_id: str | None) -> Job:
    """The row of a new job, not yet in the database."""
    spec, envelope = submission.spec, submission.envelope
    limits = envelope.limits
    return Job(
        id=new_id("job"),
        tenant_id=principal.tenant_id,
        parent_id=parent_id,
        dataset_id=submission.dataset_id,
        name=envelope.name,
        labels=dict(envelope.labels),
        priority=envelope.priority,
        spec=spec.model_dump(mode="json"),
        dataset=spec.dataset,
        method=spec.method.name,
        device_class=device_class(spec.device),
        max_runtime_s=max_runtime_s(envelope, settings),
        max_queue_s=min(limits.max_queue_s or settings.max_queue_s, settings.max_queue_s),
        status=State.QUEUED,
        max_attempts=settings.max_attempts,
        total_steps=spec.method.iterations,
    )


def max_runtime_s(envelope: Envelope, settings: Settings) -> float:
    """Seconds that a job may run: as its submission says, and at most what the service allows."""
    return min(envelope.limits.max_runtime_s or settings.max_runtime_s, settings.max_runtime_s)


def device_class(device: str) -> str:
    """Workers that can run a job for ``device``.

    >>> [device_class(device) for device in ("auto", "cpu", "cuda:1")]
    ['any', 'cpu', 'cuda']
    """
    return "any" if device == "auto" else device.partition(":")[0]


def resubmission(job: Job) -> dict[str, Any]:
    """The body that would submit ``job`` again."""
    return {
        **job.spec,
        "name": job.name,
        "labels": job.labels,
        "priority": job.priority,
        "limits": {"max_runtime_s": job.max_runtime_s, "max_queue_s": job.max_queue_s},
    }


def once_more(job: Job) -> dict[str, Any]:
    """The same, whatever its estimate is now."""
    body = resubmission(job)
    return {**body, "limits": {**body["limits"], "ignore_estimate": True}}


def amended(job: Job, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The body that would submit a job with some fields changed.

    An evaluation by another protocol replaces that of the job, whose fields are all spelt out, down to the defaults
    of its own protocol.
    """
    body = resubmission(job)
    asked, old = overrides.get("evaluation"), body.get("evaluation")
    if isinstance(asked, Mapping) and isinstance(old, Mapping):
        current = old.get("protocol", "standard")
        if asked.get("protocol", current) != current:
            del body["evaluation"]
    return merge_patch(body, overrides)  # type: ignore[no-any-return]


def merge_patch(target: object, patch: object) -> Any:
    """Apply a JSON merge patch (RFC 7396).

    >>> merge_patch({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}})
    {'a': {'c': 2, 'd': 3}}
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def warnings(spec: JobSpec, facts: DatasetFacts | None) -> list[str]:
    """What a user may not have meant, though it can be run.

    Args:
        spec: the job.
        facts: what is known of its dataset.
    """
    found = []
    for regularizer in spec.regularizers:
        if not (regularizer.weight or regularizer.relative):
            found.append(f"`{regularizer.name}` has weight 0: it is computed and reported, but does not act")
    if spec.evaluation.repeats == 0:
        found.append("`evaluation.repeats` is 0: the images will not be scored")
    if spec.evaluation.repeats and not spec.evaluation.controls:
        found.append("no control is scored: the accuracy will stand alone, without that of random real images")
    if spec.extends is not None:
        found.append("the estimate is of all classes; those that stay as they are take no steps, so expect less")
    found += _cost_of_backbones(spec)
    found += _cost_of_the_full_set(spec, facts)
    if facts is None:
        found.append(f"the images of `{spec.dataset}` are checked by the worker, when the job runs")
    elif not facts.flip and "flip" in spec.augmentation.split("_"):
        found.append(f"`augmentation` mirrors images, which changes the class of some in {spec.dataset}")
    return found


def _cost_of_backbones(spec: JobSpec) -> list[str]:
    """What the estimate takes a network of timm for, whose operations only the engine could count."""
    known = {backbone.weights: backbone for _, backbone in backbones_of(spec) if backbone.timm is not None}
    return [
        f"the operations of timm's `{backbone.timm}` are not known before it runs: the estimate counts each of its "
        f"{backbone.parameters or USUAL_PARAMETERS:,} parameters once for every square of 16 x 16 pixels"
        + ("" if backbone.size is not None else f" of images of {USUAL_SIDE} x {USUAL_SIDE} (give `size` for others)")
        for backbone in known.values()
    ]


def _cost_of_the_full_set(spec: JobSpec, facts: DatasetFacts | None) -> list[str]:
    """How many real images networks on the full training set see, where any are trained."""
    scoring = spec.evaluation
    indices = range(len(scoring.architectures(spec.network)))
    networks = scoring.repeats * sum(condition.set == "full" for i in indices for condition in scoring.conditions(i))
    if not networks:
        return []
    trained = "1 network is" if networks == 1 else f"{networks} networks are"
    bound = "(`evaluation.full_images` bounds it)"
    if facts is None:
        return [f"{trained} trained on all real images, {scoring.full_images:,} or one epoch of them each {bound}"]
    epochs = scoring.passes(scoring.epochs_on("full", facts.train_size))
    return [
        f"{trained} trained on all {facts.train_size:,} real images for {epochs} epochs each, which may take longer "
        f"than all else {bound}"
    ]
