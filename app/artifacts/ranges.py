"""Conditional and partial requests (RFC 9110, sections 13 and 14), as far as one range goes."""

from __future__ import annotations

import re

_RANGE = re.compile(r"bytes=[ \t]*(\d{0,19})-(\d{0,19})[ \t]*", re.ASCII | re.IGNORECASE)


class Unsatisfiable(ValueError):  # noqa: N818 - the RFC's word
    """The range begins beyond the end."""


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """First byte and byte after the last of a ``Range`` header.

    Args:
        header: the header's value.
        size: length of the representation in bytes.

    Returns:
        The range cut to the representation, or ``None`` where the header is to be ignored: another unit,
        several ranges, or no valid range at all.

    Raises:
        Unsatisfiable: it is valid but holds no byte.

    >>> parse_range("bytes=0-99", 1000), parse_range("bytes=990-", 1000), parse_range("bytes=-10", 1000)
    ((0, 100), (990, 1000), (990, 1000))
    >>> parse_range("bytes=0-1,5-6", 1000) is None
    True
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[0].endswith("=-"):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise Unsatisfiable(f"the last {int(last)} of {size} bytes")
        return size - length, size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise Unsatisfiable(f"from byte {start} of {size} bytes")
    return start, min(int(last) + 1, size) if last else size


def matches(header: str, tag: str) -> bool:
    """Whether ``If-None-Match`` names a strong entity tag, which GET and HEAD compare weakly.

    >>> matches('W/"a", "b"', '"a"'), matches("*", '"a"'), matches('"c"', '"a"')
    (True, True, False)
    """
    tags = [part.strip().removeprefix("W/") for part in header.split(",")]
    return "*" in tags or tag in tags
