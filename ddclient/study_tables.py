"""Studies as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable

from ddclient import study_text
from ddclient.study_models import StudyDocument
from ddclient.tables import table


def study(document: StudyDocument) -> str:
    """One study, a row for each fact, and its trials.

    >>> study(StudyDocument(id="study_1", status="running", name="a < b")).count("a &lt; b")
    1
    """
    facts = {"study": document.id, "status": document.status, "name": document.name or ""}
    facts |= {"search": study_text.searched(document.spec), "cost": study_text.cost(document)}
    if document.winner is not None:
        facts["winner"] = "; ".join(study_text.evidence(document))
    if document.error is not None:
        facts["error"] = f"{document.error.message} ({document.error.code})"
    trials = map(study_text.trial_row, document.trials)
    return table(facts.items()) + (table([study_text.TRIAL_COLUMNS, *trials]) if document.trials else "")


def studies(documents: Iterable[StudyDocument]) -> str:
    """Several studies, a row for each."""
    rows = [
        (one.id, one.status, one.name or "", study_text.searched(one.spec), study_text.cost(one)) for one in documents
    ]
    return table([("study", "status", "name", "search", "cost"), *rows])
