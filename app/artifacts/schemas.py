"""Artifacts as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, field_serializer

from app.models.artifacts import Artifact

SHEETS = frozenset({"preview", "snapshot"})
"""Pictures of the synthetic images."""
PICTURES = SHEETS | {"neighbours", "nearest"}


class ArtifactDocument(BaseModel):
    """A file that a job has made."""

    object: Literal["artifact"] = "artifact"
    id: str
    job_id: str
    kind: str = Field(examples=["bundle", "synthetic_images", "snapshot"])
    name: str = Field(description="File name that a download gets.")
    media_type: str
    size: int | None = Field(description="Bytes.")
    sha256: str | None = Field(description="Digest of the content, hexadecimal; also its ETag.")
    shape: list[int] | None = Field(description="Shape of the tensor it holds.")
    dtype: str | None
    attempt: int
    step: int | None = Field(description="Steps done when it was made, where it belongs to one moment.")
    data: dict[str, Any] | None = Field(description="Further facts; which ones depends on `kind`.")
    state: Literal["writing", "ready", "deleted"]
    created_at: datetime
    links: dict[str, str]

    @field_serializer("created_at")
    def _utc(self, at: datetime) -> str:
        return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ArtifactList(BaseModel):
    """The files of a job, oldest first."""

    object: Literal["list"] = "list"
    data: list[ArtifactDocument]


def document(artifact: Artifact) -> ArtifactDocument:
    """An artifact as clients see it."""
    base = f"/v1/artifacts/{artifact.id}"
    links = {"content": f"{base}/content", "job": f"/v1/jobs/{artifact.job_id}"}
    if artifact.kind in PICTURES:
        links["preview"] = f"{base}/preview.png"
    names = ArtifactDocument.model_fields.keys() - {"object", "links"}
    return ArtifactDocument.model_validate({name: getattr(artifact, name) for name in names} | {"links": links})
