"""Numbers, spans and instants in words, as filters of the templates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from ddcore.spec.words import size as in_bytes

_SPANS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def duration(seconds: float | None) -> str:
    """A span in at most two units.

    >>> [duration(s) for s in (None, 0.42, 59.6, 125, 7260, 90_000)]
    ['–', '0.4 s', '1 min', '2 min 5 s', '2 h 1 min', '1 d 1 h']
    """
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s" if seconds < 1 else f"{seconds:.0f} s"
    left, words = round(seconds), []
    for size, unit in _SPANS:
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
        elif words:
            break
    return " ".join(words[:2])


def number(value: float | None, digits: int = 4) -> str:
    """A reading, to so many significant digits.

    >>> [number(v) for v in (None, 0, 3.14159, 12345.678, 1.5e-7, -2.0)]
    ['–', '0', '3.142', '12,346', '1.5e-07', '-2']
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0 or not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits}g}"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(value: float | None, decimals: int = 1) -> str:
    """A score that is in percent already.

    >>> percent(92.134), percent(None)
    ('92.1 %', '–')
    """
    return "–" if value is None else f"{value:.{decimals}f} %"


def spread(mean: float | None, deviation: float | None) -> str:
    """A score in percent with its standard deviation in points.

    >>> spread(91.84, 0.42), spread(91.84, None)
    ('91.8 ± 0.4 %', '91.8 %')
    """
    return percent(mean) if mean is None or deviation is None else f"{mean:.1f} ± {deviation:.1f} %"


def size(count: int | None) -> str:
    """Bytes in the largest fitting binary unit.

    >>> [size(n) for n in (None, 1536)]
    ['–', '1.5 KiB']
    """
    return "–" if count is None else in_bytes(count)


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago something was.

    >>> ago(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 3, 20, tzinfo=UTC))
    '3 min ago'
    """
    if moment is None:
        return "–"
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if seconds < 5:
        return "just now"
    return " ".join([*duration(seconds).split()[:2], "ago"])


def stamp(moment: datetime | None) -> str:
    """An instant for machines and title texts.

    >>> stamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02 03:04:05 UTC'
    """
    return "–" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def sentence(text: str) -> str:
    """What a message says, as a sentence on a page.

    >>> sentence("images must agree in size"), sentence("`size` is 0"), sentence("")
    ('Images must agree in size.', '`size` is 0.', '')
    """
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?')) else '.'}" if text else ""


def flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The leaves of a JSON object, each with the path to it.

    >>> flat({"a": {"b": 1, "c": [1, 2]}, "d": None, "e": True})
    [('a.b', '1'), ('a.c', '1, 2'), ('e', 'yes')]
    """
    rows: list[tuple[str, str]] = []
    for name, value in document.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            rows += flat(value, f"{path}.")
        elif isinstance(value, list):
            rows.append((path, ", ".join(str(item) for item in value)))
        elif isinstance(value, bool):
            rows.append((path, "yes" if value else "no"))
        elif value is not None:
            rows.append((path, str(value)))
    return rows


FILTERS: Mapping[str, Callable[..., Any]] = {
    "ago": ago,
    "duration": duration,
    "flat": flat,
    "number": number,
    "percent": percent,
    "sentence": sentence,
    "size": size,
    "spread": spread,
    "stamp": stamp,
}
