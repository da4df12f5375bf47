"""How a distilled set is scored: fresh networks trained on it from scratch, beside controls."""

from ddcore.spec.evaluation.conditions import (
    BEST_CORESET,
    CANDIDATES,
    DISTILLED,
    EIGHT_BIT,
    SUBSET,
    VALIDATION,
    Labels,
    RobustScore,
    Rule,
    TrainingCondition,
)
from ddcore.spec.evaluation.config import EvaluationConfig
from ddcore.spec.evaluation.impossible import unscorable
from ddcore.spec.evaluation.labels import LabelLoss, TeacherMode
from ddcore.spec.evaluation.recipe import NETWORK_POOLS, Trains

__all__ = [
    "BEST_CORESET",
    "CANDIDATES",
    "DISTILLED",
    "EIGHT_BIT",
    "NETWORK_POOLS",
    "SUBSET",
    "VALIDATION",
    "EvaluationConfig",
    "LabelLoss",
    "Labels",
    "RobustScore",
    "Rule",
    "TeacherMode",
    "TrainingCondition",
    "Trains",
    "unscorable",
]
