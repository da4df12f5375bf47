"""Names of the kinds of events and alerts that more than one module asks for."""

from __future__ import annotations

from typing import Literal, get_args

ALERT = "job.alert"
STATE_CHANGED = "job.state_changed"

Rule = Literal[
    "diverging", "plateau", "eta_slipping", "below_random",
    "study_finished", "no_trial_scored", "budget_nearly_spent", "below_best_coreset",
]  # fmt: skip
"""What an alert is about; the last four are about studies."""
RULES: tuple[Rule, ...] = get_args(Rule)
