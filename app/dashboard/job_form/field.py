"""One field of the form of a job, as the page shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.dashboard.job_form.schema import Kind

LABELS: Mapping[str, str] = {
    "dataset": "Dataset",
    "ipc": "Images per class",
    "seed": "Seed",
    "method": "Method",
    "regularizers": "Regularisers",
    "network": "Network",
    "decoder": "Decoder",
    "sampler": "Sampler of real images",
    "evaluation": "Evaluation",
    "evaluation.during": "Accuracy on the way",
    "name": "Name",
    "labels": "Labels",
    "priority": "Priority",
    "study.name": "Name",
    "study.labels": "Labels",
    "study.priority": "Priority",
    "study.seeds": "Seeds of each trial",
    "study.objective": "What the best is",
    "study.budget": "Budget",
    "study.budget.jobs": "Jobs",
    "study.budget.minutes": "Minutes",
    "study.sampler": "Points of the space",
    "study.seed": "Seed of the draw",
    "study.rungs": "Rungs",
    "study.reduction": "Reduction",
    "study.scoring": "Scores on the way",
}
"""Words for the fields that every job has; others are called what a specification calls them."""

LONG = 160
"""Letters of a meaning that is shown whole; of a longer one, the first sentence."""


@dataclass(frozen=True)
class Option:
    """A word that a field can be."""

    word: str
    title: str = ""


@dataclass(frozen=True)
class About:
    """What a component is, where it comes from and what it costs."""

    title: str
    description: str
    citation: str
    cost: str
    departures: Sequence[str]


@dataclass(frozen=True)
class Field:
    """One field of the form, and the fields that belong to what it says.

    Attributes:
        path: its name, such as ``method.iterations``.
        label: what it is called.
        help: what it means.
        kind: what is typed there.
        value: what was typed.
        default: what holds where nothing is typed; empty where it is required or there is none.
        rule: which values it may have, in words.
        options: the words that it may be.
        required: whether a job must have it.
        faults: what is wrong with it.
        about: the component that it names.
        usual: fields of what was chosen.
        unusual: those of them that few change.
        nullable: whether a job may say that there is none of it.
        several: whether several values may be typed.
    """

    path: str
    label: str
    help: str
    kind: Kind
    value: str = ""
    default: str = ""
    rule: str = ""
    options: Sequence[Option] = ()
    required: bool = False
    faults: Sequence[str] = ()
    about: About | None = None
    usual: Sequence[Field] = ()
    unusual: Sequence[Field] = ()
    nullable: bool = False
    several: bool = False

    @property
    def id(self) -> str:
        """Its identifier on the page."""
        return "field-" + self.path.replace(".", "-")

    @property
    def brief(self) -> str:
        """What it means, or the first sentence of that."""
        first, stop, _ = self.help.partition(". ")
        return self.help if len(self.help) <= LONG or not stop else f"{first}."

    @property
    def rest(self) -> str:
        """What else is to be said of its meaning."""
        return self.help[len(self.brief) :].strip()

    @property
    def named_as_typed(self) -> bool:
        """Whether the label is what a specification calls the field."""
        return self.path not in LABELS

    @property
    def unfolded(self) -> bool:
        """Whether something is typed, or wrong, among the fields that few change."""
        return any(part.touched for part in self.unusual)

    @property
    def decides(self) -> bool:
        """Whether what it says decides which fields belong to it."""
        return self.kind == "component" or (self.kind == "group" and self.nullable)

    @property
    def touched(self) -> bool:
        """Whether something is typed, or wrong, in the field or in what belongs to it."""
        return any(one.value or one.faults for one in self.all())

    def all(self) -> Iterator[Field]:
        """The field and all that belong to it."""
        yield self
        for part in (*self.usual, *self.unusual):
            yield from part.all()
