"""SQL on what finished jobs took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.costs.likeness import keys_by_phase, kind
from app.costs.measured import Measured, MeasuredPhase
from app.models.costs import MeasuredJob
from ddcore.spec import DATASETS, JobSpec
from ddcore.spec.workload import Usage

OF_A_KIND = 8
"""Jobs of one kind on one machine that are kept, the newest."""
IN_ALL = 500
"""Jobs of one kind of device that are kept, the newest."""


def record(session: Session, spec: JobSpec, usage: Usage, whole_s: float) -> None:
    """Keep what a job took, and let go of the oldest.

    Args:
        session: a ``write()`` session.
        spec: the job; a user's own set is named by its content.
        usage: what its phases took.
        whole_s: seconds from its beginning to its end, on its worker.
    """
    workload, machine = usage.workload, usage.workload.machine
    row = MeasuredJob(
        device_class=machine.device_class, device=machine.name, precision=machine.precision, compiled=machine.compiled,
        method=spec.method.name, dataset=spec.dataset if spec.dataset in DATASETS else None,
        networks=list(workload.networks), kind=kind(spec, workload), phases=_phases(spec, usage, whole_s),
        model_bytes=workload.peak_bytes, peak_bytes=usage.peak_bytes,
    )  # fmt: skip
    session.add(row)
    session.flush()
    alike = (MeasuredJob.kind == row.kind, MeasuredJob.device == row.device)
    _keep_newest(session, OF_A_KIND, *alike)
    _keep_newest(session, IN_ALL, MeasuredJob.device_class == row.device_class)


def newest(session: Session, device_class: str, device: str | None = None) -> Sequence[Measured]:
    """What jobs took on a kind of device, newest first.

    Args:
        session: any session.
        device_class: ``cpu`` or ``cuda``.
        device: name of one machine; all by default.
    """
    statement = select(MeasuredJob).where(MeasuredJob.device_class == device_class)
    if device is not None:
        statement = statement.where(MeasuredJob.device == device)
    rows = session.scalars(statement.order_by(MeasuredJob.number.desc()).limit(IN_ALL))
    return [_measured(row) for row in rows]


def _phases(spec: JobSpec, usage: Usage, whole_s: float) -> dict[str, Any]:
    keys = keys_by_phase(spec, usage.workload)
    seconds = {**usage.seconds, "around": max(0.0, whole_s - sum(usage.seconds.values()))}
    phases = {}
    for phase, taken in seconds.items():
        work = usage.workload.phases.get(phase)
        flop = 0.0 if work is None else _trained(usage) if phase == "pretraining" else work.flop
        phases[phase] = {
            "seconds": taken, "warm_up": usage.warm_up.get(phase, 0.0), "flop": flop,
            "passes": 0.0 if work is None else work.passes, "keys": keys.get(phase, ()),
        }  # fmt: skip
    return phases


def _trained(usage: Usage) -> float:
    """Operations of the networks that were trained: of all that were needed, the share that no cache had."""
    needed = usage.workload.network_epochs
    return sum(usage.workload.networks.values()) * (min(1.0, usage.trained_epochs / needed) if needed else 0.0)


def _keep_newest(session: Session, count: int, *alike: Any) -> None:
    oldest = select(MeasuredJob.number).where(*alike).order_by(MeasuredJob.number.desc()).offset(count).limit(IN_ALL)
    numbers = list(session.scalars(oldest))
    if numbers:
        session.execute(delete(MeasuredJob).where(MeasuredJob.number.in_(numbers)))


def _measured(row: MeasuredJob) -> Measured:
    phases = {name: MeasuredPhase(**{**fields, "keys": tuple(fields["keys"])}) for name, fields in row.phases.items()}
    return Measured(
        device=row.device, precision=row.precision, compiled=row.compiled, method=row.method, dataset=row.dataset,
        networks=frozenset(row.networks), phases=phases, model_bytes=row.model_bytes, peak_bytes=row.peak_bytes,
    )  # fmt: skip
