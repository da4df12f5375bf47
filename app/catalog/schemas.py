"""The menu as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

ComponentKind = Literal["method", "regularizer", "network", "decoder", "sampler"]


class ComponentDocument(BaseModel):
    """A method, regulariser, network, decoder or sampler that a job can name."""

    name: str
    kind: ComponentKind
    title: str
    citation: str = Field(description="Authors, venue, year and arXiv number.")
    cost: str
    description: str
    defaults: dict[str, Any] = Field(description="Fields and their defaults; required ones are missing.")
    departures: list[str] = Field(description="Where a plain default is not the published setting, in sentences.")
    parameters: dict[str, Any] = Field(description="JSON Schema of the fields.")
