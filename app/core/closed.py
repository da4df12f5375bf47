"""What every request body is made of."""

from __future__ import annotations

from pydantic import ConfigDict

from ddcore.spec.plain import PlainModel


class Closed(PlainModel):
    """A request body: unknown fields are refused, and so are texts and booleans where a number is asked for."""

    model_config = ConfigDict(extra="forbid")
