"""The life of a study: one table of what may follow what, and one function that applies it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.tables import clock
from app.models.states import STUDY_TERMINAL, StudyState
from app.models.studies import Study

_R, _PG, _PD, _CG = StudyState.RUNNING, StudyState.PAUSING, StudyState.PAUSED, StudyState.CANCELLING
_S, _F, _C = StudyState.SUCCEEDED, StudyState.FAILED, StudyState.CANCELLED

TRANSITIONS: Mapping[StudyState, frozenset[StudyState]] = {
    _R: frozenset({_PG, _CG, _S, _F}),
    _PG: frozenset({_PD, _R, _CG}),
    _PD: frozenset({_R, _CG}),
    _CG: frozenset({_C}),
}
"""Every legal move. Nothing else changes a study's state."""

VERBS: Mapping[str, Mapping[StudyState, StudyState]] = {
    "pause": {_R: _PG},
    "resume": {_PG: _R, _PD: _R},
    "cancel": {_R: _CG, _PG: _CG, _PD: _CG},
}
"""What a user can ask for, and where it leads from each state that has it."""


def actions(state: StudyState) -> list[str]:
    """Verbs that a user can apply to a study in ``state``.

    >>> actions(StudyState.PAUSED), actions(StudyState.FAILED)
    (['resume', 'cancel'], ['delete'])
    """
    verbs = [verb for verb, moves in VERBS.items() if state in moves]
    return [*verbs, "delete"] if state in STUDY_TERMINAL else verbs


def transition(session: Session, study: Study, to: StudyState, values: Mapping[str, Any] | None = None) -> bool:
    """Move a study, if it may still be moved; its row, read again, then shows it.

    Args:
        session: a ``write()`` session.
        study: the study.
        to: the state to reach.
        values: other columns to set.

    Returns:
        Whether it was moved. ``False`` says that it is elsewhere by now.
    """
    sources = [state for state, targets in TRANSITIONS.items() if to in targets]
    ended = {"finished_at": clock()} if to in STUDY_TERMINAL else {}
    moved = session.execute(
        update(Study)
        .where(Study.id == study.id, Study.status == study.status, Study.status.in_(sources))
        .values({"status": to, "version": Study.version + 1, **ended, **(values or {})})
        .returning(Study.id)
        .execution_options(synchronize_session=False)
    ).all()
    if moved:
        session.refresh(study)
    return bool(moved)
