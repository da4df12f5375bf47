"""What networks are trained on to score a set: the set itself, its controls, and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Labels = Literal["hard", "soft", "online", "stored"]
Control = Literal["random", "herding", "best_coreset", "full"]
Rule = Literal["herding", "k_means", "k_center"]
RobustScore = Literal["label_robust", "augmentation_robust"]

BEST_CORESET: Control = "best_coreset"
"""The control that chooses among :data:`RULES`."""
RULES: tuple[Rule, ...] = ("herding", "k_means", "k_center")
"""Rules that keep real images; the method of the same name does nothing else."""
CANDIDATES: Mapping[str, Rule] = {f"candidate/{rule}": rule for rule in RULES}
"""The rules by the names of the sets that they keep for :data:`BEST_CORESET` to choose from."""
VALIDATION = 0.1
"""Share of the training images of each class that a rule is chosen on, and that no rule keeps."""

DISTILLED = "distilled"
"""What a network is trained on when it is not a control."""
EIGHT_BIT = "eight_bit"
"""The distilled set as exported PNGs hold it."""
SUBSET = "random/"
"""Name of a random subset of the curve, before its images of each class."""


class TrainingCondition(NamedTuple):
    """What networks are trained on, and how: those of one condition differ in their seeds only.

    Attributes:
        set: ``distilled`` or the name of a control.
        labels: the classes, or what a teacher says of every image or of every batch.
        augmented: as the recipe says, or not at all.
    """

    set: str
    labels: Labels
    augmented: bool = True
