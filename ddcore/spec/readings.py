"""The catalogue of readings: what the numbers are that a run reports as it goes, and how to read them.

Every job reports those of :data:`EVERY_JOB`. Methods and regularisers add theirs; ``loss/<name>`` and ``weight/<name>``
of a regulariser follow a rule, so that one from elsewhere is known by its name. :func:`announce` adds any other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ddcore.spec.base import REGULARIZERS

LOSS = "loss"
LOSS_TOTAL = "loss/total"
LOSS_BASE = "loss/base"
"""What a method calls its loss, and what jobs called it until 0.2: their ``loss`` is ``loss/total``."""
MI_LOWER_BOUND = "mi_lower_bound"
CMI = "cmi"
PROBED = (MI_LOWER_BOUND, CMI)
"""What the probe reads of the synthetic set, in every job alike."""
EVERY_JOB = (LOSS, *PROBED)
"""What every job reports, in the order in which it is shown."""
HEADLINE = (LOSS, LOSS_TOTAL, *PROBED)
"""What is shown of a job first; without regularisers there is no total beside the loss."""

ACCURACY_DURING: Mapping[str, str] = {"validation": "accuracy/validation", "test": "accuracy/test"}
"""What is read of the images while they are learned, by what networks are tested on."""


def deviation_of(name: str) -> str:
    """Name of the standard deviation over networks of a reading that averages several.

    >>> deviation_of("accuracy/validation")
    'accuracy/validation/deviation'
    """
    return f"{name}/deviation"


ACCURACY_RANDOM = "accuracy/random"
ACCURACY_CORESET = "accuracy/best_coreset"
ACCURACY_OF_REAL = (ACCURACY_RANDOM, ACCURACY_CORESET)
"""What is read of real images then, once."""


class Reading(BaseModel):
    """One number that runs report over their steps.

    >>> catalogue()["mi_lower_bound"].ceiling_with(10)
    2.302585092994046
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(description="Under which it is reported.", examples=["mi_lower_bound"])
    title: str = Field(description="What it is called.")
    label: str = Field(description="The same, where there is little room.")
    unit: str = Field("", examples=["nats"], description="Empty where it has none.")
    floor: float | None = Field(None, description="Least value that it can take; null where there is none.")
    ceiling: float | Literal["log classes"] | None = Field(
        None, description="Largest value: a number, `log classes` for the logarithm of their number, or null."
    )
    better: Literal["lower", "higher"] | None = Field(None, description="Which way is better; null where neither is.")
    made_by: str = Field(description="What makes it.")

    def ceiling_with(self, classes: int | None) -> float | None:
        """The largest value for so many classes; ``None`` where there is none, or where it needs them to be known."""
        if self.ceiling == "log classes":
            return math.log(classes) if classes else None
        return self.ceiling

    def ceiling_text(self, classes: int | None) -> str:
        """How the ceiling comes about, such as ``log 10``; empty where it is no such rule."""
        return f"log {classes}" if self.ceiling == "log classes" and classes else ""


_KNOWN: dict[str, Reading] = {}


def announce(reading: Reading) -> Reading:
    """Add a reading to the catalogue.

    Raises:
        ValueError: another one has its name.
    """
    if _KNOWN.setdefault(reading.name, reading) != reading:
        raise ValueError(f"the reading {reading.name!r} is already known as {_KNOWN[reading.name].title!r}")
    return reading


def catalogue() -> Mapping[str, Reading]:
    """Every reading that can be listed, by name: those announced, and those of the registered regularisers."""
    terms = (known(f"{part}/{name}") for name in REGULARIZERS for part in ("loss", "weight"))
    return {**_KNOWN, **{reading.name: reading for reading in terms if reading is not None}}


def known(name: str) -> Reading | None:
    """The reading of this name; ``None`` where the catalogue does not know it.

    >>> known("weight/cmi").title
    'Strength of Class-aware conditional mutual information'
    >>> known("queue/length") is None
    True
    """
    found = re.fullmatch("(loss|weight)/([a-z][a-z0-9_]*)", name)
    if name in _KNOWN or found is None:
        return _KNOWN.get(name)
    part, term = found.groups()
    title = REGULARIZERS[term].title if term in REGULARIZERS else term
    if part == "loss":
        made_by = f"The regulariser `{term}`, before its weight, by its own networks and scales."
        return Reading(name=name, title=title, label=name, better="lower", made_by=made_by)
    made_by = f"What `{name.replace('weight', 'loss')}` is multiplied by: `weight`, or what `relative` comes to."
    return Reading(name=name, title=f"Strength of {title}", label=name, floor=0, made_by=made_by)


for _reading in (
    Reading(
        name=LOSS,
        title="Loss",
        label="Loss",
        better="lower",
        made_by="The method alone, without regularisers.",
    ),
    Reading(
        name=LOSS_TOTAL,
        title="Loss with its weighted regularisers",
        label="Total loss",
        better="lower",
        made_by="`loss` and each regulariser times its weight; absent without regularisers.",
    ),
    Reading(
        name=LOSS_BASE,
        title="Loss of the method, until 0.2",
        label="loss/base",
        better="lower",
        made_by="What is `loss` now; the `loss` beside it is what is `loss/total` now.",
    ),
    Reading(
        name=MI_LOWER_BOUND,
        title="Mutual information, lower bound",
        label="MI bound",
        unit="nats",
        ceiling="log classes",
        better="higher",
        made_by="The probe: an InfoNCE bound between a synthetic image and a real one of its class.",
    ),
    Reading(
        name=CMI,
        title="Conditional mutual information",
        label="CMI",
        unit="nats",
        floor=0,
        made_by="The probe: the empirical I(S; Z | Y) of its softmax features, how much images spread within a class.",
    ),
    Reading(
        name=ACCURACY_DURING["validation"],
        title="Accuracy on validation images",
        label="validation accuracy",
        unit="%",
        floor=0,
        ceiling=100,
        better="higher",
        made_by="`evaluation.during`: small networks trained on the images of this step, tested on training images.",
    ),
    Reading(
        name=ACCURACY_DURING["test"],
        title="Accuracy on test images",
        label="test accuracy",
        unit="%",
        floor=0,
        ceiling=100,
        better="higher",
        made_by="`evaluation.during`: small networks trained on the images of this step, tested on the test images.",
    ),
    *(
        Reading(
            name=deviation_of(ACCURACY_DURING[images]),
            title=f"Deviation of the accuracy on {images} images",
            label=f"± {images}",
            unit="%",
            floor=0,
            made_by="`evaluation.during` with several networks: the standard deviation of their accuracies.",
        )
        for images in ACCURACY_DURING
    ),
    Reading(
        name=ACCURACY_RANDOM,
        title="Accuracy of random real images",
        label="random real images",
        unit="%",
        floor=0,
        ceiling=100,
        better="higher",
        made_by="`evaluation.during`: the same networks, trained on as many random real images.",
    ),
    Reading(
        name=ACCURACY_CORESET,
        title="Accuracy of the best coreset",
        label="best coreset",
        unit="%",
        floor=0,
        ceiling=100,
        better="higher",
        made_by="`evaluation.during` with the control `best_coreset`: the same networks on as many real images, kept "
        "by the rule that is best here.",
    ),
    Reading(
        name="loss/cross_entropy",
        title="Cross-entropy of the synthetic images",
        label="cross-entropy",
        unit="nats",
        floor=0,
        better="lower",
        made_by="`idm`, `bacon`: by the matched network; `ncfm`: by the trained one. Summed over classes, before its "
        "weight.",
    ),
    Reading(
        name="queue/accuracy",
        title="Accuracy of the matched network",
        label="network accuracy",
        unit="%",
        floor=0,
        ceiling=100,
        made_by="`idm`, `bacon`: on the real images that it has been trained with.",
    ),
    Reading(
        name="cafe/alignment",
        title="Alignment of class means",
        label="alignment",
        floor=0,
        better="lower",
        made_by="`cafe`: squared distances of real and synthetic class means, weighted by layer.",
    ),
    Reading(
        name="cafe/discrimination",
        title="Discrimination of real images",
        label="discrimination",
        unit="nats",
        floor=0,
        better="lower",
        made_by="`cafe`: cross-entropy of real images, classified by the synthetic class means, before its weight.",
    ),
    Reading(
        name="lr_img",
        title="Learning rate of the images",
        label="image rate",
        floor=0,
        made_by="`ncfm`: `method.lr_img`, halved wherever the loss no longer fell.",
    ),
    Reading(
        name="lr",
        title="Learned learning rate",
        label="learned rate",
        floor=0,
        made_by="`mtt`, `tesla`, `datm`, `pad`: the rate of the students, learned with the images.",
    ),
    Reading(
        name="student_distance",
        title="Distance of the student from the expert",
        label="student distance",
        floor=0,
        better="lower",
        made_by="`mtt`, `tesla`, `datm`, `pad`: norm of the difference of their parameters at the end of the student's "
        "training.",
    ),
    Reading(
        name="skipped",
        title="Skipped step",
        label="skipped",
        floor=0,
        ceiling=1,
        better="lower",
        made_by="`datm`, `pad`: 1 where the loss is above `method.threshold`, so that the step moves nothing, else 0.",
    ),
    Reading(
        name="penalty",
        title="Penalty of the images",
        label="penalty",
        floor=0,
        made_by="`bptt`: the norm of the stored images times `method.penalty`, a part of `loss`.",
    ),
    Reading(
        name="window_start",
        title="Training steps before the window",
        label="steps before window",
        floor=0,
        made_by="`rat_bptt`: steps of a network before those that are differentiated.",
    ),
    Reading(
        name="window_steps",
        title="Training steps of the window",
        label="steps of window",
        floor=1,
        made_by="`rat_bptt`: steps of a network that are differentiated.",
    ),
    Reading(
        name="stage",
        title="Stage",
        label="stage",
        floor=1,
        made_by="`seqmatch`, `pdd`: which stage of the set is being learned.",
    ),
    Reading(
        name="iid/covariance",
        title="Distance of covariances",
        label="covariance",
        floor=0,
        better="lower",
        made_by="`iid`: squared differences of real and synthetic feature covariances, before their coefficient.",
    ),
    Reading(
        name="iid/centralization",
        title="Scatter about the class means",
        label="centralization",
        floor=0,
        better="lower",
        made_by="`iid`: squared distances of features from their class mean, before their coefficient.",
    ),
):
    announce(_reading)
