"""The menu as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

ComponentKind = Literal["method", "regularizer", "network", "decoder"]


class ComponentDocument(BaseModel):
    """A method, regulariser, network or decoder that a job can name."""

    name: str
    kind: ComponentKind
    title: str
    citation: str = Field(description="Authors, venue, year and arXiv number.")
    cost: str
    description: str
    defaults: dict[str, Any] = Field(description="Fields and their defaults; required ones are missing.")
    departures: list[str] = Field(description="Where a plain default is not the published setting, in sentences.")
    parameters: dict[str, Any] = Field(description="JSON Schema of the fields.")


class DatasetDocument(BaseModel):
    """A dataset that a job can name."""

    name: str
    title: str
    builtin: bool
    shape: list[int] | None = Field(None, description="Channels, height and width; null where not known beforehand.")
    classes: list[str] | None = None
    train_size: int | None = None
    smallest_class: int | None = Field(None, description="Training images of the smallest class.")
    local: bool = Field(description="Whether its files are in the data folder, or it needs none.")
