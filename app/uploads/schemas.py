"""Uploads as JSON."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from app.core.closed import Closed

LONGEST_FILE = 255
"""Bytes of a file's name, as file systems have it."""
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _no_path(name: str) -> str:
    if "/" in name or "\0" in name or name in (".", ".."):
        raise ValueError("give the name of the file alone, without folders")
    if len(name.encode()) > LONGEST_FILE or not name.isprintable():
        raise ValueError(f"the name of a file is text of at most {LONGEST_FILE} bytes; rename it")
    return name


FileName = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_FILE), AfterValidator(_no_path)]


class Announcement(Closed):
    """A file that will be sent."""

    file: FileName = Field(
        description="Name of the file that will be sent. Its ending matters where the content does not tell.",
        examples=["photos.zip", "train.parquet"],
    )
    size: int | None = Field(None, ge=1, description="Bytes of the file, where they are known.")
    sha256: Sha256 | None = Field(None, description="Digest of the file, where it is known.")


class UploadDocument(BaseModel):
    """What has come of the bytes of a file."""

    file: str
    size: int | None = Field(description="Bytes in all, where known.")
    received: int = Field(description="Bytes that are stored; an upload that was cut goes on here.")
    kept: bool = Field(description="Whether they are still there, so that a worker can read them once more.")
