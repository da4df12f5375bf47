"""Points in time as users give them: ISO 8601 with a time zone, within what every database keeps."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_NUMBER = re.compile(r"\s*[+-]?\d+(\.\d*)?\s*")


def _text(given: Any) -> Any:
    # A bare number would be taken for seconds since 1970, or for milliseconds where it is large.
    if isinstance(given, datetime) or (isinstance(given, str) and not _NUMBER.fullmatch(given)):
        return given
    raise ValueError("a moment is text such as 2027-01-31T12:00:00Z")


def _utc(given: datetime) -> datetime:
    if given.tzinfo is None:
        return given.replace(tzinfo=UTC)
    try:
        return given.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is beyond the years 1 to 9999 in UTC; give a nearer moment") from error


MomentOrUtc = Annotated[datetime, BeforeValidator(_text), AfterValidator(_utc)]
"""A moment in UTC; one without a time zone is taken for UTC."""
Moment = Annotated[AwareDatetime, BeforeValidator(_text), AfterValidator(_utc)]
"""A moment in UTC; one without a time zone is refused."""
