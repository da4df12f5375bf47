"""How images are taken in, as keywords."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ddcore.spec.errors import SpecError, problems
from ddcore.spec.ingest import IngestOptions


def options_of(given: Mapping[str, Any]) -> IngestOptions:
    """Options from their names and values; those that are not named have their defaults.

    Raises:
        SpecError: there is no option of a name, or a value is out of range; all faults at once.

    >>> options_of({"size": (48, 64)}).size
    (48, 64)
    """
    try:
        return IngestOptions(**given)
    except ValidationError as error:
        raise SpecError(problems(error, tuple(IngestOptions.model_fields))) from error
