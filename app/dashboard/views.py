"""What the pages show of a job, worked out from its document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from app.dashboard.own_sets import OwnSet
from app.dashboard.wording import duration, number
from app.jobs.schemas import JobDocument, PhaseAhead
from app.models.states import TERMINAL
from ddcore.spec import DATASETS, METHODS
from ddcore.spec.differences import differences, scored_controls, verdict, worst
from ddcore.spec.evaluation import BEST_CORESET
from ddcore.spec.readings import LOSS, LOSS_TOTAL, PROBED, Reading, catalogue
from ddcore.spec.results import ArchitectureScores, Lineage, Score
from ddcore.spec.worth import in_words

PHASES = {
    "validating": "Checking",
    "loading": "Loading data",
    "pretraining": "Training teachers",
    "distilling": "Distilling",
    "evaluating": "Scoring",
    "finalizing": "Writing results",
}
_TRAINED_PROBE = "the probe of the dataset, a small network trained on its real images"
PROBES = {
    "auto": _TRAINED_PROBE,
    "teacher": _TRAINED_PROBE,
    "random": "a network with random weights below a least-squares classifier of real images",
}
"""What the mutual-information bound and the CMI of a job are read with, in words."""

ACRONYM = 5
"""Names of methods up to this length are acronyms."""


@dataclass(frozen=True)
class SetScore:
    """Accuracy of one set by its name: mean and population standard deviation over networks, in percent."""

    name: str
    mean: float
    std: float
    values: Sequence[float]

    @property
    def label(self) -> str:
        """Its name where there is little room."""
        return "coreset" if self.name == BEST_CORESET else self.name

    @property
    def text(self) -> str:
        """For example ``91.8 ± 0.4 %``."""
        return f"{self.mean:.1f} ± {self.std:.1f} %" if len(self.values) > 1 else f"{self.mean:.1f} %"


@dataclass(frozen=True)
class PhaseRow:
    """A phase of a job that runs, in words: what it is, how much of it is done, and how long it still takes."""

    name: str
    done: str
    left: str


CONTROLS: Mapping[str, str] = {
    "random": "a real subset of the same size",
    "herding": "a real subset of the same size that stands for its classes by herding",
    BEST_CORESET: "the best of the real subsets that herding, k-means and k-center keep, by accuracy on training "
    "images that none of them may keep",
    "full": "the whole training set, for fewer epochs where it is large",
}
"""What networks of a control are trained on, in words."""


@dataclass(frozen=True)
class Verdict:
    """Whether a set beats real images of the same number, as the rest of a sentence about it."""

    text: str
    style: Literal["up", "down"]
    """Whether it does so by more than the error."""


@dataclass(frozen=True)
class ArchitectureView:
    """A distilled set beside its controls, scored with one architecture."""

    network: str
    distilled: SetScore
    controls: Sequence[SetScore]
    verdicts: Sequence[Verdict] = ()

    @property
    def gain(self) -> float | None:
        """Percentage points above the random subset."""
        random = next((control for control in self.controls if control.name == "random"), None)
        return None if random is None else self.distilled.mean - random.mean

    @property
    def explanation(self) -> str:
        """What the controls are, for example ``“random” is a real subset of the same size``."""
        return "; ".join(f"“{c.label}” is {CONTROLS[c.name]}" for c in self.controls if c.name in CONTROLS)


@dataclass(frozen=True)
class Tile:
    """A reading of the job, in words."""

    label: str
    value: str
    unit: str
    note: str


@dataclass(frozen=True)
class JobView:
    """A job as the pages show it."""

    job: JobDocument
    now: datetime
    own: OwnSet | None = None
    """The user's own set that it distils."""

    @property
    def title(self) -> str:
        """Its name, or what it does."""
        name = self.method.upper() if len(self.method) <= ACRONYM else self.method.capitalize()
        return self.job.name or f"{name} on {self.dataset}"

    @property
    def dataset(self) -> str:
        """The dataset as people write it."""
        name = str(self.job.spec["dataset"])
        return DATASETS[name].title if self.own is None and name in DATASETS else name

    @property
    def method(self) -> str:
        """Name of the method."""
        return str(self.job.spec["method"]["name"])

    @property
    def ipc(self) -> int:
        """Images per class."""
        return int(self.job.spec["ipc"])

    @property
    def classes(self) -> int | None:
        """Number of classes, where it is known without the data."""
        facts = DATASETS.get(str(self.job.spec["dataset"])) if self.own is None else self.own.facts
        return len(facts.classes) if facts else None

    @property
    def regularizers(self) -> list[str]:
        """Each regulariser with its strength, such as ``cmi 2000`` or ``mim 1× gradient``."""
        return [_strength(regularizer) for regularizer in self.job.spec.get("regularizers", ())]

    @property
    def active(self) -> bool:
        """Whether something may still happen by itself."""
        return self.job.status not in TERMINAL

    @property
    def activity(self) -> str:
        """What it is doing now, in one line."""
        if self.job.status == "queued":
            return "Waiting for a worker"
        if not self.active or self.job.status == "paused":
            return str(self.job.status).capitalize()
        return PHASES.get(self.job.phase or "", "Starting")

    @property
    def share(self) -> float:
        """Finished share of the whole job where that is known, else of the current phase, or of the distillation."""
        progress = self.job.progress
        if progress.plan is not None:
            return progress.plan.done
        if self.active and progress.phase_total:
            return min(progress.phase_done / progress.phase_total, 1.0)
        return progress.fraction

    @property
    def steps(self) -> str:
        """How far it is, in words."""
        progress = self.job.progress
        if self.active and self.job.phase not in (None, "distilling") and progress.phase_total:
            return f"{progress.phase_done:,} of {progress.phase_total:,}"
        return f"step {progress.step:,} of {progress.total_steps:,}" if progress.total_steps else "no steps"

    @property
    def eta(self) -> str | None:
        """When the job should end, or else its current phase."""
        progress = self.job.progress
        if self.job.status != "running":
            return None
        if progress.plan is not None and progress.plan.remaining_s is not None:
            return f"about {duration(progress.plan.remaining_s)} left"
        return None if progress.eta_s is None else f"about {duration(progress.eta_s)} left in this phase"

    @property
    def phases(self) -> list[PhaseRow]:
        """Every phase of a job that runs: what is done, and how long it still takes."""
        plan = self.job.progress.plan
        return (
            []
            if plan is None or self.job.status != "running"
            else [_phase(each, self.job.phase) for each in plan.phases]
        )

    @property
    def elapsed(self) -> float | None:
        """Seconds since a worker first took it, until its end."""
        if self.job.started_at is None:
            return None
        return max(((self.job.finished_at or self.now) - self.job.started_at).total_seconds(), 0.0)

    @property
    def architectures(self) -> list[ArchitectureView]:
        """Its scores, one entry for each architecture."""
        entries = self.job.results.by_architecture if self.job.results else ()
        return [_architecture(entry, entry.accuracy) for entry in entries if entry.accuracy]

    @property
    def score(self) -> ArchitectureView | None:
        """Its score with the first architecture."""
        return next(iter(self.architectures), None)

    @property
    def worst(self) -> ArchitectureView | None:
        """Its score with the architecture that learns least from it, where there are several."""
        found = worst(self.job.results) if self.job.results else None
        return None if found is None or found.accuracy is None else _architecture(found, found.accuracy)

    @property
    def classes_apart(self) -> bool:
        """Whether its method takes each class for itself, so that others can be put beside those that it has made."""
        known = METHODS.get(self.method)
        return known is not None and known.classes_apart

    @property
    def lineage(self) -> Lineage | None:
        """What it has of the set that it extends, where it extends one."""
        return self.job.results.lineage if self.job.results else None

    @property
    def before(self) -> SetScore | None:
        """The score of the set that it extends."""
        found = self.lineage.accuracy if self.lineage else None
        return _named("distilled", found) if found else None

    @property
    def eight_bit(self) -> SetScore | None:
        """Its score in 8 bits, where that was asked for."""
        found = self.job.results.eight_bit if self.job.results else None
        return _named("eight_bit", found) if found else None

    @property
    def worth(self) -> str:
        """How many random real images it is worth, as the rest of a sentence; empty where that was not asked for."""
        found = self.job.results.worth if self.job.results else None
        return in_words(found) if found else ""

    @property
    def tiles(self) -> list[Tile]:
        """Last readings of what every job reports."""
        last = self.job.last_metrics
        if last is None:
            return []
        shown = {name: getattr(last, name.replace("/", "_")) for name in (*PROBED, LOSS, LOSS_TOTAL)}
        return [
            self._tile(catalogue()[name], value)
            for name, value in shown.items()
            if name != LOSS_TOTAL or value is not None
        ]

    @property
    def probe(self) -> str | None:
        """What the bound and the CMI are read with, in words; older results may say another than the job asks for."""
        reported = self.job.results.probe if self.job.results else None
        return PROBES.get((reported and reported.network) or self.job.spec["metrics"]["probe"])

    @property
    def probe_digest(self) -> str | None:
        """Its name, once the job has a result."""
        reported = self.job.results.probe if self.job.results else None
        return reported.digest if reported else None

    def _tile(self, reading: Reading, value: float | None) -> Tile:
        ceiling = reading.ceiling_with(self.classes)
        note = "" if ceiling is None else f"of {reading.ceiling_text(self.classes)} = {number(ceiling)}"
        return Tile(reading.label, number(value), reading.unit, note)


def view(job: JobDocument, own: OwnSet | None = None) -> JobView:
    """A job as of now, with the user's own set that it distils."""
    return JobView(job, datetime.now(UTC), own)


def _strength(regularizer: Mapping[str, Any]) -> str:
    weight, relative = regularizer.get("weight"), regularizer.get("relative")
    strength = f"{number(relative)}× gradient" if relative is not None else number(weight)
    return f"{regularizer['name']} {strength}"


def _phase(ahead: PhaseAhead, now: str | None) -> PhaseRow:
    if ahead.done >= 1:
        return PhaseRow(PHASES[ahead.phase], "done", "")
    begun = f"{ahead.done:.0%}" if ahead.done else "begun"
    left = "" if ahead.remaining_s is None else f"about {duration(ahead.remaining_s)}"
    return PhaseRow(PHASES[ahead.phase], begun if ahead.done or ahead.phase == now else "to come", left)


def _architecture(entry: ArchitectureScores, accuracy: Score) -> ArchitectureView:
    controls = [_named(name, found) for name, found in scored_controls(entry).items()]
    found = [
        Verdict(verdict(name, one), "up" if one.verdict == "above" else "down")
        for name, one in differences(entry).items()
    ]
    return ArchitectureView(_network(entry.network), _named("distilled", accuracy), controls, found)


def _named(name: str, found: Score) -> SetScore:
    return SetScore(name, found.mean, found.std, found.values)


def _network(config: Mapping[str, Any]) -> str:
    parts = [f"{key} {config[key]}" for key in ("depth", "width", "norm") if config.get(key) is not None]
    return ", ".join([str(config.get("name", "network")), *parts])
