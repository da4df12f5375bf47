"""Between a submission and the fields of its form: what was typed is read, and what is known is spelt out.

A field's name is the path to it, such as ``method.iterations``, ``regularizers.mim.weight`` or
``limits.max_runtime_s``. An empty field is one that the submission does not have. Text that is not of the kind that its
field asks for is left as it is, for the specification to refuse by name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from app.dashboard.job_form.schema import Shape

ON = "on"
NULL, NONE = "null", "none"
"""How a field says that a value is absent on purpose, and how a list says that it is empty."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_LABEL = re.compile(r"\s*([^:=]*?)\s*[:=]\s*(.*?)\s*")


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
            return _number(text)
        case "flag":
            return {"true": True, "false": False}.get(text, text)
        case "labels":
            return _labels(text)
        case "list":
            return _list(shape, text)
        case "json":
            return _json(text)
    return text


def says_null(shape: Shape) -> bool:
    """Whether the word for null means that: a name, say, may be any word, and is null where it is empty."""
    return shape.nullable and (shape.kind != "text" or shape.default is not None)


def _number(text: str) -> int | float | str:
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
    found = [_LABEL.fullmatch(line) for line in text.splitlines() if line.strip()]
    pairs = [(match[1], match[2]) for match in found if match]
    return dict(pairs) if len(dict(pairs)) == len(found) else text


def spell(parts: Mapping[str, Shape], body: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """What the fields of a form hold for an object, in either spelling of the specification; empty ones are left out.

    What the object has and the form has not, as a job of an older version may, is spelt too, for the form to say so.

    Args:
        parts: of the object.
        body: the object.
        above: its path, ending in a dot.
    """
    values: dict[str, str] = {}
    for name, value in body.items():
        if name in parts:
            values |= _spell(parts[name], value, above + name)
        else:
            values[above + name] = words(value)
    return values


def _spell(shape: Shape, value: Any, path: str) -> dict[str, str]:
    match shape.kind:
        case "component" if isinstance(value, Mapping):
            name = str(value.get("name", ""))
            return {path: name, **spell(shape.parts(name), _unnamed(value), f"{path}.")}
        case "terms":
            found: dict[str, str] = {}
            for name, fields in _terms(value).items():
                found[f"{path}.{name}"] = ON
                parts = shape.terms[name].parts() if name in shape.terms else {}
                found |= spell(parts, _unnamed(fields), f"{path}.{name}.")
            return found
        case "group":
            fields = spell(shape.parts(), value or {}, f"{path}.")
            return {path: ON, **fields} if shape.nullable and value is not None else fields
    return {path: words(value)} if value is not None or says_null(shape) else {}


def _unnamed(component: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: one for name, one in component.items() if name != "name"}


def _terms(value: Any) -> Mapping[str, Mapping[str, Any]]:
    if isinstance(value, Mapping):
        return {name: one if isinstance(one, Mapping) else {"weight": one} for name, one in value.items()}
    return {str(one["name"]): one for one in value}


def words(value: Any) -> str:
    """A value as somebody would type it.

    >>> [words(value) for value in (None, True, 1e-05, 20000, "auto", [], ["random", "full"], {"k": "v"})]
    ['null', 'true', '1e-05', '20000', 'auto', 'none', 'random, full', 'k: v']
    """
    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {text}" for name, text in value.items())
    if isinstance(value, (list, tuple)):
        if any(isinstance(item, (Mapping, list, tuple)) for item in value):
            return json.dumps(value)
        return ", ".join(words(item) for item in value) if value else NONE
    return str(value)
