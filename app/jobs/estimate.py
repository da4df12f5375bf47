"""What a job should cost, before it runs: images passed through networks, seconds and memory.

The work is that of :mod:`ddcore.spec.cost`; how fast it goes, this installation learns from the jobs that it has run
(:mod:`app.costs`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from typing_extensions import override

from app.costs.forecasts import CLASSES, Forecaster
from app.costs.prediction import DeviceClass
from app.costs.spans import Prediction
from app.costs.words import basis
from app.jobs.schemas import Estimate, PlannedPhase, Seconds
from ddcore.spec import DatasetFacts, JobSpec
from ddcore.spec.cost import Cost, networks_scored, networks_trained
from ddcore.spec.work import DataSizes

_BESIDE: Mapping[str, str] = {"loading": "pretraining", "finalizing": "evaluating"}
"""Where the work of a phase is done that a job does not have: the probe looks at images while a job is loading."""


@dataclass(frozen=True)
class Costing:
    """A job, what is known of its dataset, and what was measured.

    Attributes:
        spec: the job.
        facts: of its dataset, ``None`` where they are not known beforehand.
        forecaster: predicts from what jobs have taken; from the speed of any machine by default.
        identity: by what the dataset is known to workers: the content of a user's own set, else its name.
    """

    spec: JobSpec
    facts: DatasetFacts | None
    forecaster: Forecaster = field(default_factory=lambda: Forecaster({}))
    identity: str | None = None

    @cached_property
    def cost(self) -> Cost | None:
        """The work of the job on a dataset whose sizes are known."""
        spec = self.spec if self.identity is None else self.spec.model_copy(update={"dataset": self.identity})
        return None if self.facts is None else Cost(spec, spec.evaluation.left_of(DataSizes.of(self.facts)))

    def of(self, spec: JobSpec) -> Costing:
        """Another job on the same dataset."""
        return replace(self, spec=spec)

    @cached_property
    def predicted(self) -> Mapping[DeviceClass, Prediction]:
        """What the job should take on each kind of device that it may run on."""
        if self.cost is None:
            return {}
        asked = self.spec.device.partition(":")[0]
        return _Predicted(self.cost, self.forecaster, [name for name in CLASSES if asked in ("auto", name)])

    def likely_device(self, offered: Collection[DeviceClass]) -> DeviceClass | None:
        """The kind of device that the job should run on: the fastest of those offered, the slowest where none is.

        Args:
            offered: kinds of device of the workers that are alive.

        Returns:
            ``None`` where the dataset's sizes are not known beforehand.
        """
        possible = [name for name in self.predicted if name in offered] or list(self.predicted)[:1]
        if len(possible) < 2:
            # There is no choice, and to predict what is not asked for takes most of the time of planning.
            return next(iter(possible), None)
        return min(possible, key=lambda name: self.predicted[name].total.expected)

    @property
    def distilled_bytes(self) -> int | None:
        """Size of the images, as 32-bit numbers; ``None`` where the dataset's sizes are not known beforehand."""
        if self.cost is None:
            return None
        return self.spec.ipc * self.cost.data.classes * math.prod(self.cost.data.shape) * 4

    def plan(self) -> list[PlannedPhase]:
        """The phases of the job in order, with their work where the dataset's size is known."""
        units: Mapping[str, int] = {
            "pretraining": networks_trained(self.spec),
            "distilling": self.spec.method.iterations,
            "evaluating": networks_scored(self.spec),
        }
        phases = ["loading", *(phase for phase, work in units.items() if work), "finalizing"]
        return [
            PlannedPhase(
                phase=phase,
                units=units.get(phase),
                image_passes=None if self.cost is None else _passes(self.cost, phase, phases),
                seconds={name: found.phases[phase].expected for name, found in self.predicted.items()},
            )
            for phase in phases
        ]

    def estimate(self, available: Collection[DeviceClass] = ()) -> Estimate | None:
        """What the job should cost, or ``None`` where the dataset's size is not known beforehand.

        Args:
            available: kinds of device of the workers that are alive.
        """
        if self.cost is None or self.distilled_bytes is None:
            return None
        seconds = {str(name): _seconds(self.spec, name, found) for name, found in self.predicted.items()}
        return Estimate(
            image_passes=self.cost.passes(),
            flop=self.cost.flop,
            seconds=seconds,
            peak_bytes={str(name): found.peak_bytes for name, found in self.predicted.items()},
            available=[str(name) for name in self.predicted if name in available],
            distilled_bytes=self.distilled_bytes,
            basis=_of_all(seconds),
        )


class _Predicted(Mapping[DeviceClass, Prediction]):
    """What a job should take by kind of device, each worked out when it is first asked for.

    Args:
        cost: the work of the job.
        forecaster: predicts it.
        classes: the kinds of device.
    """

    def __init__(self, cost: Cost, forecaster: Forecaster, classes: Sequence[DeviceClass]) -> None:
        self._cost, self._forecaster, self._classes = cost, forecaster, classes
        self._known: dict[DeviceClass, Prediction] = {}

    @override
    def __contains__(self, name: object) -> bool:
        return name in self._classes

    @override
    def __getitem__(self, name: DeviceClass) -> Prediction:
        if name not in self._classes:
            raise KeyError(name)
        if name not in self._known:
            self._known[name] = self._forecaster.predict(self._cost, name)
        return self._known[name]

    @override
    def __iter__(self) -> Iterator[DeviceClass]:
        return iter(self._classes)

    @override
    def __len__(self) -> int:
        return len(self._classes)


def _seconds(spec: JobSpec, device_class: str, predicted: Prediction) -> Seconds:
    total = predicted.total
    return Seconds(
        low=total.low, expected=total.expected, high=total.high, measured=predicted.calibrated,
        basis=basis(spec, device_class, predicted),
    )  # fmt: skip


def _of_all(seconds: Mapping[str, Seconds]) -> str:
    """What the seconds rest on: once, where it is the same for all kinds of device."""
    if len({found.basis for found in seconds.values()}) == 1:
        return next(iter(seconds.values())).basis
    return ". ".join(f"{name}: {found.basis}" for name, found in seconds.items())


def _passes(expected: Cost, phase: str, phases: Sequence[str]) -> float:
    """Image passes of a listed phase, and of that which is not listed but done with it."""
    beside = _BESIDE.get(phase)
    return expected.passes(phase) + (expected.passes(beside) if beside is not None and beside not in phases else 0.0)
