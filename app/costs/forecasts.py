"""What a job should take on each kind of device, from what this installation has measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from app.costs import repository
from app.costs.likeness import keys_by_phase
from app.costs.measured import Measured
from app.costs.prediction import SPEED, DeviceClass, predict
from app.costs.spans import Prediction
from ddcore.spec import JobSpec
from ddcore.spec.cost import Cost
from ddcore.spec.workload import Machine, Workload

CLASSES: tuple[DeviceClass, ...] = ("cpu", "cuda")


class Forecaster:
    """Reads the measurements of one moment once, and predicts any number of jobs from them.

    Args:
        measured: jobs of each kind of device on one machine, newest first.
    """

    def __init__(self, measured: Mapping[str, Sequence[Measured]]) -> None:
        self._measured = measured

    @classmethod
    def of(cls, session: Session, machines: Mapping[str, Sequence[str]]) -> Forecaster:
        """From the database.

        Args:
            session: any session.
            machines: beginnings of the names of the machines that are there now, by kind of device.
        """
        return cls({name: _one_machine(repository.newest(session, name), machines.get(name, ())) for name in SPEED})

    def predict(self, cost: Cost, device_class: DeviceClass) -> Prediction:
        """What a job should take.

        Args:
            cost: the job, with the sizes of its dataset. A user's own set is named by its content.
            device_class: where.
        """
        measured = self._measured.get(device_class, ())
        workload = Workload.of(cost, _machine(cost, device_class, measured))
        return predict(workload, keys_by_phase(cost.job, workload), measured)


def predict_run(session: Session, spec: JobSpec, workload: Workload) -> Prediction:
    """What a run should take whose machine and work are known for certain.

    Args:
        session: any session.
        spec: the job.
        workload: as the engine tells it.
    """
    measured = repository.newest(session, workload.machine.device_class, workload.machine.name)
    return predict(workload, keys_by_phase(spec, workload), measured)


def _one_machine(measured: Sequence[Measured], present: Sequence[str]) -> Sequence[Measured]:
    """Those of the machine that was measured last, of those that are there now if any of them was."""
    there = [job for job in measured if job.device.startswith(tuple(present))] if present else []
    newest = next(iter(there or measured), None)
    return [] if newest is None else [job for job in measured if job.device == newest.device]


def _machine(cost: Cost, device_class: DeviceClass, measured: Sequence[Measured]) -> Machine:
    """What the engine is going to choose: as it did before, where it was asked for the same."""
    compiled = cost.compiles(device_class)
    name = measured[0].device if measured else "any"
    asked = cost.job.precision
    known = next((job.precision for job in measured if job.compiled == compiled), None)
    usual = known or ("bf16" if compiled or device_class == "cuda" else "fp32")
    precision = usual if asked == "auto" else asked
    own_kernels = cost.takes_own_kernels(device_class)
    return Machine(
        device_class=device_class, name=name, precision=precision, compiled=compiled, own_kernels=own_kernels
    )
