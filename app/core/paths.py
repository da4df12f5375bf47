"""Identifiers in paths; anything else is refused before a query is made."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from app.core.ids import pattern

JOB_ID = pattern("job")

JobId = Annotated[str, Path(pattern=JOB_ID, description="A job's identifier, `job_…`.")]
ArtifactId = Annotated[str, Path(pattern=pattern("art"), description="An artifact's identifier, `art_…`.")]
DatasetId = Annotated[str, Path(pattern=pattern("set"), description="Identifier of a user's own set, `set_…`.")]
StudyId = Annotated[str, Path(pattern=pattern("study"), description="A study's identifier, `study_…`.")]
