"""Stored specifications, as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.core.ordering import ordered_like
from ddcore.spec import JobSpec


def as_declared(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A job's specification with its fields in the order in which they are declared."""
    try:
        pattern = JobSpec.model_validate(spec).model_dump(mode="json")
    except ValidationError:
        # Written by a version whose fields were others, or with a component that is not installed any more.
        pattern = dict.fromkeys(JobSpec.model_fields)
    ordered: dict[str, Any] = ordered_like(spec, pattern)
    return ordered
