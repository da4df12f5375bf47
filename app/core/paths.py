"""Identifiers in paths; anything else is refused before a query is made.

``{job_id:identifier}`` in the address of a route ends before a colon, so that ``job_1:cancel`` is the address of a verb
alone, and another method on it is told which one the verb has.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from starlette.convertors import StringConvertor, register_url_convertor

from app.core.ids import pattern

JOB_ID = pattern("job")


class _Identifier(StringConvertor):
    regex = "[^/:]+"


register_url_convertor("identifier", _Identifier())

JobId = Annotated[str, Path(pattern=JOB_ID, description="A job's identifier, `job_…`.")]
ArtifactId = Annotated[str, Path(pattern=pattern("art"), description="An artifact's identifier, `art_…`.")]
DatasetId = Annotated[str, Path(pattern=pattern("set"), description="Identifier of a user's own set, `set_…`.")]
ScoreId = Annotated[str, Path(pattern=pattern("score"), description="A score's identifier, `score_…`.")]
StudyId = Annotated[str, Path(pattern=pattern("study"), description="A study's identifier, `study_…`.")]
