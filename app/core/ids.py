"""Public identifiers: a prefix that names the kind and a time-ordered UUID in Crockford's base 32."""

from __future__ import annotations

import re
import secrets
import time
from datetime import datetime, timedelta

from app.core.tables import EPOCH

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
LENGTH = 26


def pattern(prefix: str) -> str:
    """Regular expression of the identifiers with ``prefix``.

    >>> pattern("job")
    '^job_[0-7][0-9a-hjkmnp-tv-z]{25}$'
    """
    return rf"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"


def new_id(prefix: str) -> str:
    """A new identifier; those made later sort later, to the millisecond (UUID version 7, RFC 9562).

    >>> import re
    >>> bool(re.match(pattern("job"), new_id("job")))
    True
    """
    return f"{prefix}_{_base32(_uuid7())}"


def made_at(prefix: str, id: str) -> datetime | None:
    """When an identifier was made, by the clock of its maker; ``None`` where it is none with ``prefix``.

    >>> made_at("evt", "evt_01m7wfazz0fpcr59g52gcd7d4a").isoformat(timespec="milliseconds")
    '2026-11-20T12:36:41.056+00:00'
    >>> made_at("evt", "job_01m7wfazz0fpcr59g52gcd7d4a") is None
    True
    """
    if re.match(pattern(prefix), id) is None:
        return None
    number = 0
    for letter in id[len(prefix) + 1 :]:
        number = number * 32 + ALPHABET.index(letter)
    return EPOCH + timedelta(milliseconds=number >> 80)


def _uuid7() -> int:
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low


def _base32(number: int) -> str:
    digits = []
    for _ in range(LENGTH):
        number, digit = divmod(number, 32)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
