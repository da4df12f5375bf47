"""Studies as the service shows them, for tests of the client alone."""

from __future__ import annotations

from typing import Any

from tests.ddclient.conftest import JOB_ID

STUDY_ID = "study_" + "a" * 26
VALIDATION: dict[str, Any] = {
    "object": "study_validation", "spec": {"base": {"dataset": "digits", "method": "auto"}, "space": {}}, "points": 2,
    "jobs": 2, "trials": [{"index": 0, "title": "herding"}, {"index": 1, "title": "dm"}], "rungs": [[0, 30], [0, 90]],
    "steps": 90, "full_grid_steps": 90, "minutes": 1.5, "refused": [{"reason": "no steps", "points": 1}],
    "warnings": ["no worker"],
}  # fmt: skip
"""What a study would be, as the service answers."""
SPEC = {
    "base": {"dataset": "digits", "ipc": 1, "method": {"iterations": 90}},
    "space": {"method": ["dm", "idm"], "ipc": [1, 2]},
    "budget": {"jobs": 4},
}


def score(rung: int, accuracy: float) -> dict[str, Any]:
    step = (10, 30, 90)[rung]
    return {"rung": rung, "step": step, "accuracy": accuracy, "deviation": 0.6, "networks": 3, "objective": accuracy}


def trial(index: int, status: str, *accuracies: float, **fields: Any) -> dict[str, Any]:
    scores = [score(rung, accuracy) for rung, accuracy in enumerate(accuracies)]
    values = {"method": ("dm", "idm")[index % 2], "ipc": 1 + index // 2}
    return {
        "index": index, "values": values, "title": f"{values['method']}, ipc {values['ipc']}", "iterations": 90,
        "rung": max(len(scores) - 1, 0), "status": status, "scores": scores, "jobs": [f"job_{index}" + "b" * 25],
        "runtime_s": 12.3, "reason": None, **fields,
    }  # fmt: skip


def study_document(status: str = "running", **fields: Any) -> dict[str, Any]:
    """A study of four trials whose first rung is decided."""
    trials = [
        trial(0, "held", 70.0), trial(1, "promoted", 80.0, 84.0), trial(2, "failed", reason="`loss` became nan"),
        trial(3, "dropped", 60.0, reason="not promoted: 3rd of 3 at rung 0"),
    ]  # fmt: skip
    rungs = [
        {"rung": 0, "share": 1 / 9, "trials": 4, "scored": 3, "ended": 1, "promoted": 2, "decided": True},
        {"rung": 1, "share": 1 / 3, "trials": 2, "scored": 1, "ended": 0, "promoted": 0, "decided": False},
        {"rung": 2, "share": 1.0, "trials": 0, "scored": 0, "ended": 0, "promoted": 0, "decided": False},
    ]
    return {
        "id": STUDY_ID, "object": "study", "name": None, "labels": {}, "priority": 4, "status": status, "spec": SPEC,
        "rungs": rungs, "trials": trials, "winner": None, "spent": {"jobs": 4, "steps": 1310, "minutes": 1.25},
        "full_grid_steps": 3600, "ahead_minutes": 2.0, "refused": [], "failures": [], "error": None,
        "actions": ["pause", "cancel"], "version": 1, "links": {}, **fields,
    }  # fmt: skip


def won() -> dict[str, Any]:
    """The same at its end."""
    document = study_document("succeeded", version=9, ahead_minutes=None, actions=["delete"])
    document["trials"][1] = trial(1, "winner", 80.0, 84.0, 85.0)
    for rung in document["rungs"][1:]:
        rung |= {"trials": 1, "scored": 1, "promoted": 1, "decided": True}
    document["winner"] = {
        "trial": 1, "job_id": JOB_ID, "validation": {"accuracy": 85.0, "deviation": 0.5},
        "accuracy": {"mean": 84.1, "deviation": 0.7, "networks": 3}, "gap": -0.9,
        "best_coreset": {"trial": 2, "title": "herding", "validation": {"accuracy": 78.9, "deviation": 0.4}},
        "answer": "The set beats the best coreset by 6.1 points.",
    }  # fmt: skip
    return document
