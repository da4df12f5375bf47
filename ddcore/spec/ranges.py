"""Several values written in one line, as a study's space takes them: ``dm, idm`` or ``0.1..10:5:log``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

Values = Sequence[Any] | Mapping[str, Any]
"""A list of values, or ``from``, ``to`` and ``count`` with the ``scale`` that is not linear."""

HOW = "write values as dm, idm or a span as 0.1..10:5 (five values, evenly) or 0.1..10:5:log (evenly in the logarithm)"
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_SPAN = re.compile(rf"({_NUMBER})\.\.({_NUMBER}):(\d{{1,6}})(?::(log|linear))?", re.IGNORECASE)


def read_values(text: str) -> Values:
    """The values that a line says.

    Args:
        text: values separated by commas, each in JSON or plain; a list in JSON; or a span ``from..to:count``, with
            ``:log`` behind it where its values are spread evenly in the logarithm.

    Raises:
        ValueError: it says no value, or begins like a span or JSON and is none.

    >>> read_values("dm, idm"), read_values("1..10:3")
    (['dm', 'idm'], {'from': 1, 'to': 10, 'count': 3})
    >>> read_values("0.1..10:5:log")
    {'from': 0.1, 'to': 10, 'count': 5, 'scale': 'log'}
    """
    text = text.strip()
    if text.startswith("["):
        return _json_list(text)
    if ".." in text:
        return _span(text)
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise ValueError(f"{text!r} leaves a value out; {HOW}")
    return [_value(word) for word in words]


def is_several(text: str) -> bool:
    """Whether a line is meant to say more than one value.

    >>> is_several("dm"), is_several("dm, idm"), is_several("1..10:3")
    (False, True, True)
    """
    return "," in text or ".." in text


def write_values(values: Values) -> str:
    """The line that says such values; :func:`read_values` reads it back.

    >>> write_values({"from": 0.1, "to": 10, "count": 5, "scale": "log"}), write_values(["dm", True, 0.5])
    ('0.1..10:5:log', 'dm, true, 0.5')
    """
    if isinstance(values, Mapping):
        scale = values.get("scale") or "linear"
        span = f"{_plain(values['from'])}..{_plain(values['to'])}:{values['count']}"
        return span if scale == "linear" else f"{span}:{scale}"
    words = [_plain(value) for value in values]
    line = ", ".join(words)
    return line if line and _reads_back(line, values) else json.dumps(list(values), ensure_ascii=False)


def _reads_back(line: str, values: Sequence[Any]) -> bool:
    try:
        return read_values(line) == list(values)
    except ValueError:
        return False


def _json_list(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{text!r} begins like a list in JSON and is none: {error}") from error
    if not isinstance(found, list) or not found:
        raise ValueError(f"{text!r} holds no value; {HOW}")
    return found


def _span(text: str) -> dict[str, Any]:
    found = _SPAN.fullmatch(re.sub(r"\s", "", text))
    if found is None:
        raise ValueError(f"{text!r} is no span; {HOW}")
    low, high, count, scale = found.groups()
    span = {"from": _value(low), "to": _value(high), "count": int(count)}
    return span if (scale or "linear").lower() == "linear" else {**span, "scale": "log"}


def _value(word: str) -> Any:
    if re.fullmatch(_NUMBER, word, re.IGNORECASE):
        return int(word) if re.fullmatch(r"[+-]?\d{1,300}", word) else float(word)
    try:
        return json.loads(word, parse_constant=str)
    except ValueError:
        return word


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
