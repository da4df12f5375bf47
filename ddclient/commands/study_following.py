"""Following a study in a terminal to its winner and the winner's images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from ddclient import output, study_text
from ddclient.errors import Exit
from ddclient.study import Study
from ddclient.study_live import watch
from ddclient.study_models import StudyDocument


def follow(
    study: Study, *, as_json: bool, out: Path | None = None, check: Callable[[], None] | None = None, back: str = ""
) -> None:
    """Watch a study, fetch the winner's bundle where that is wanted, print how it stands and end with its outcome.

    Args:
        study: the study.
        as_json: print one JSON document.
        out: folder for the bundle.
        check: called before every look; what it raises ends the watching.
        back: what returns to it after Ctrl-C. Default: ``ddctl study watch``.
    """
    status: int
    path: Path | None = None
    try:
        document = watch(study, check=check)
        status = outcome(document)
        if out is not None and document.status == "succeeded":
            path = study.job.download(out).path
    except KeyboardInterrupt:
        returns = back or f"the study goes on. `ddctl study watch {study.id}` returns to it"
        output.note(f"detached; {returns}, `ddctl study cancel {study.id}` stops it")
        status = Exit.DETACHED
    shown: Any = study.document
    text = study_text.describe(study.document)
    if path is not None:
        shown = study.document.model_dump(mode="json") | {"bundle": str(path)}
        text += f"\n  bundle    {path}"
    elif study.winner is not None and study.document.status == "succeeded":
        output.note(f"`ddctl get {study.winner.job_id} -o DIR` fetches its images")
    output.emit(shown, text, as_json=as_json)
    raise typer.Exit(status)


def outcome(document: StudyDocument) -> Exit:
    """Exit status for a study as it stands; a study under way is no failure."""
    return output.OUTCOMES.get(document.status, Exit.SUCCEEDED)
