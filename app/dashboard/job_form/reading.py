"""What was typed into the form of a job, read into a submission.

A field's name is the path to it, such as ``method.iterations``, ``regularizers.mim.weight`` or
``limits.max_runtime_s``. An empty field is one that the submission does not have. Text that is not of the kind that its
field asks for is left as it is, for the specification to refuse by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from app.dashboard.job_form.schema import Shape
from app.dashboard.job_form.spelling import NONE, NULL, says_null

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_SIGN = re.compile("[:=]")


def read(parts: Mapping[str, Shape], values: Mapping[str, str], above: str = "") -> dict[str, Any]:
    """The object that a form says.

    Args:
        parts: of the object.
        values: what was typed, by the path of its field.
        above: the path of the object, ending in a dot.
    """
    found: dict[str, Any] = {}
    for name, shape in parts.items():
        present, value = _read(shape, values, above + name)
        if present:
            found[name] = value
    return found


def _read(shape: Shape, values: Mapping[str, str], path: str) -> tuple[bool, Any]:
    text = values.get(path, "").strip()
    match shape.kind:
        case "component":
            fields = read(shape.parts(text), values, f"{path}.")
            return bool(text), {"name": text, **fields} if fields else text
        case "terms":
            ticked = [name for name in shape.terms if values.get(f"{path}.{name}")]
            terms = {name: read(shape.terms[name].parts(), values, f"{path}.{name}.") for name in ticked}
            return bool(terms), {name: _strength(fields) for name, fields in terms.items()}
        case "group":
            fields = read(shape.parts(), values, f"{path}.")
            return (bool(text), fields) if shape.nullable else (bool(fields), fields)
    return bool(text), _value(shape, text)


def _strength(fields: Mapping[str, Any]) -> Any:
    """The short spelling of a regulariser with nothing but a weight."""
    return fields["weight"] if fields.keys() == {"weight"} else dict(fields)


def _value(shape: Shape, text: str) -> Any:
    if text == NULL and says_null(shape):
        return None
    match shape.kind:
        case "integer" | "number":
            return number(text)
        case "flag":
            return {"true": True, "false": False}.get(text, text)
        case "labels":
            return _labels(text)
        case "list":
            return _list(shape, text)
        case "json":
            return _json(text)
    return text


def number(text: str) -> int | float | str:
    """The number that a text is, or the text where it is none: then the schema says what is wrong with it."""
    if not _NUMBER.fullmatch(text):
        return text
    return int(text) if re.fullmatch(r"[+-]?\d+", text) and len(text) < 400 else float(text)


def _list(shape: Shape, text: str) -> Any:
    if text.startswith("["):
        return _json(text)
    if text == NONE:
        return []
    return [_value(shape.items, item.strip()) for item in text.split(",")]


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)
    except (json.JSONDecodeError, RecursionError):
        return text


def _labels(text: str) -> dict[str, str] | str:
    """Labels, a line for each; the text itself where a line is none or repeats a name."""
    lines = [_SIGN.split(line, maxsplit=1) for line in text.splitlines() if line.strip()]
    pairs = [(line[0].strip(), line[1].strip()) for line in lines if len(line) == 2]
    return dict(pairs) if len(dict(pairs)) == len(lines) else text
