"""What webhooks can be told: names for those events that somebody outside waits for.

A name is the kind of what it is about and what happened: ``job.succeeded``, ``ingest.failed``, ``alert.diverging``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.events.names import ALERT, RULES, STATE_CHANGED
from app.models.states import Kind, State

_SUBJECTS = {Kind.DISTILLATION: "job", Kind.INGEST: "ingest", Kind.SCORE: "score"}
_BESIDE_STATES = {"job.created": "created", "attempt.lost": "attempt_lost", "job.warning": "warning"}
TEST = "webhook.test"
"""Told on request alone, whatever is subscribed to."""
TOPICS: tuple[str, ...] = (
    *(f"{subject}.{what}" for subject in _SUBJECTS.values() for what in (*_BESIDE_STATES.values(), *State)),
    *(f"alert.{rule}" for rule in RULES),
)
"""All of them."""
PATTERNS: tuple[str, ...] = ("*", *(f"{group}.*" for group in dict.fromkeys(name.split(".")[0] for name in TOPICS)))
"""What stands for several of them."""
USUAL: tuple[str, ...] = ("job.succeeded", "job.failed", "job.cancelled", "job.expired", "alert.*")
"""What a webhook is told by default."""


def topic_of(kind: str, type: str, data: Mapping[str, Any]) -> str | None:
    """The name of an event; ``None`` for one that webhooks are not told.

    >>> topic_of("distillation", "job.state_changed", {"from": "running", "to": "succeeded"})
    'job.succeeded'
    >>> topic_of("distillation", "job.progress", {}) is None
    True

    Args:
        kind: of the job.
        type: of the event.
        data: of the event.
    """
    subject = _SUBJECTS[Kind(kind)]
    if type == STATE_CHANGED and "to" in data:
        return f"{subject}.{data['to']}"
    if type == ALERT:
        return f"alert.{data['rule']}"
    return f"{subject}.{_BESIDE_STATES[type]}" if type in _BESIDE_STATES else None


def wanted(topic: str, subscribed: Iterable[str]) -> bool:
    """Whether one of the names and patterns that are subscribed to means ``topic``.

    >>> wanted("job.failed", ["alert.*", "job.failed"]), wanted("job.failed", ["alert.*"]), wanted("job.failed", ["*"])
    (True, False, True)
    """
    return not {topic, f"{topic.split('.')[0]}.*", "*"}.isdisjoint(subscribed)
