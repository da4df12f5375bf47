"""From rows, and from what lies in the data root, to documents."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from app.datasets.found import Found
from app.datasets.schemas import DatasetDocument, DatasetError, DatasetState, IngestDocument
from app.models.datasets import Dataset
from app.models.jobs import Job
from app.models.states import State
from app.uploads.schemas import UploadDocument
from ddcore.spec import DATASETS, DatasetFacts
from ddcore.spec.ingest import IngestOptions
from ddcore.spec.local_sets import facts_of, names_in

_FACTS = TypeAdapter(DatasetFacts)
_WHILE: dict[State, DatasetState] = {
    State.QUEUED: DatasetState.QUEUED,
    State.RUNNING: DatasetState.INGESTING,
    State.PAUSING: DatasetState.PAUSED,
    State.PAUSED: DatasetState.PAUSED,
    State.CANCELLING: DatasetState.CANCELLING,
    State.CANCELLED: DatasetState.CANCELLED,
}
_ENDED = (DatasetState.FAILED, DatasetState.CANCELLED)


def reference(dataset: Dataset) -> str:
    """What a job calls a set for good.

    >>> reference(Dataset(name="photos", version=2)), reference(Dataset(name="photos"))
    ('photos@2', 'photos')
    """
    return dataset.name if dataset.version is None else f"{dataset.name}@{dataset.version}"


def facts(dataset: Dataset) -> DatasetFacts | None:
    """What is known of a set that is ready."""
    return None if dataset.facts is None else _FACTS.validate_python(dataset.facts)


def as_json(known: DatasetFacts) -> dict[str, Any]:
    """Facts as a row keeps them."""
    return dict(_FACTS.dump_python(known, mode="json"))


def state_of(dataset: Dataset, job: Job | None) -> DatasetState:
    """Where a set is in its life, which follows from its row and its newest ingest."""
    if dataset.content_id is not None:
        return DatasetState.READY
    if job is None:
        return DatasetState.RECEIVING
    return _WHILE.get(State(job.status), DatasetState.FAILED)


def document(dataset: Dataset, job: Job | None, kept: int) -> DatasetDocument:
    """A user's own set.

    Args:
        dataset: its row.
        job: its newest ingest.
        kept: bytes of its upload that are still there.
    """
    state = state_of(dataset, job)
    links = {"self": f"/v1/datasets/{dataset.id}", "content": f"/v1/datasets/{dataset.id}/content"}
    if state is DatasetState.READY:
        links |= {name: f"/v1/datasets/{dataset.id}/{name}" for name in ("report", "samples.png", "files")}
    if job is not None:
        links |= {"job": f"/v1/jobs/{job.id}", "events": f"/v1/jobs/{job.id}/events:stream"}
    return DatasetDocument(
        id=dataset.id,
        name=dataset.name,
        version=dataset.version,
        reference=reference(dataset),
        title=dataset.name,
        state=state,
        builtin=False,
        local=True,
        content_id=dataset.content_id,
        bytes=dataset.stored + kept,
        upload=UploadDocument(file=dataset.file, size=dataset.size, received=dataset.received, kept=kept > 0),
        options=IngestOptions.model_validate(dataset.options),
        job=None if job is None else _ingest(job),
        error=None if job is None or state not in _ENDED else _error(job),
        actions=["ingest", "delete"] if kept and state in _ENDED else ["delete"],
        created_at=dataset.created_at,
        ready_at=dataset.ready_at,
        links=links,
        **_known(facts(dataset)),
    )


def of_files(data_root: Path, found: Mapping[str, Found], hidden: Collection[str]) -> Sequence[DatasetDocument]:
    """The built-in sets and those in data roots, but those that a user's own sets hide.

    Args:
        data_root: that of this process, where it sees one.
        found: what workers have found in theirs.
        hidden: names of the user's own sets.
    """
    there = {*names_in(data_root), *found}
    names = [name for name in (*DATASETS, *sorted(there - DATASETS.keys())) if name not in hidden]
    return [_of_name(name, data_root, found.get(name, Found()), name in there) for name in names]


def _of_name(name: str, data_root: Path, found: Found, local: bool) -> DatasetDocument:
    known = None if found.error is not None else found.facts or facts_of(name, data_root)
    return DatasetDocument(
        name=name,
        reference=name,
        title=name if known is None else known.title,
        state=DatasetState.READY if found.error is None else DatasetState.UNFIT,
        error=found.error,
        builtin=name in DATASETS,
        local=local or (known is not None and not known.download),
        **_known(known),
    )


def _known(known: DatasetFacts | None) -> dict[str, Any]:
    if known is None:
        return {}
    return {
        "shape": list(known.shape),
        "classes": list(known.classes),
        "train_size": known.train_size,
        "test_size": known.test_size,
        "smallest_class": known.smallest_class,
    }


def _ingest(job: Job) -> IngestDocument:
    return IngestDocument(
        id=job.id, status=job.status, phase=job.phase, done=job.phase_done, total=job.phase_total, attempt=job.attempt
    )


def _error(job: Job) -> DatasetError | None:
    return None if job.error is None else DatasetError(code=job.error["code"], message=job.error["message"])
