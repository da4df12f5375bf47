"""Jobs as HTML, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from ddclient.models import JobDocument
from ddclient.output import accuracy, summary


def job(document: JobDocument) -> str:
    """One job, a row for each fact.

    >>> job(JobDocument(id="job_1", status="queued", name="a < b")).count("<tr>")
    4
    """
    facts = {"job": document.id, "status": _status(document), "name": document.name or ""}
    facts["what"] = summary(document.spec)
    if document.results:
        facts["accuracy"] = accuracy(document.results, document.runtime_s)
    if document.error:
        facts["error"] = f"{document.error.message} ({document.error.code})"
    return table(facts.items())


def jobs(documents: Iterable[JobDocument]) -> str:
    """Several jobs, a row for each."""
    heading = ("job", "status", "name", "what", "accuracy")
    rows = [
        (one.id, _status(one), one.name or "", summary(one.spec), accuracy(one.results) if one.results else "")
        for one in documents
    ]
    return table([heading, *rows])


def _status(document: JobDocument) -> str:
    progress = document.progress
    if document.finished or progress is None or not progress.total_steps:
        return document.status
    return f"{document.status}, step {progress.step} of {progress.total_steps}"


def table(rows: Iterable[Iterable[str]]) -> str:
    """Rows of text as a table of HTML; the text is escaped."""
    cells = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
