"""From the options of a command to the body of a job."""

from __future__ import annotations

import copy
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ddclient.errors import BadInputError
from ddcore.spec import JobSpec


def build(
    *,
    dataset: str | None = None,
    method: str | None = None,
    ipc: int | None = None,
    iterations: int | None = None,
    seed: int | None = None,
    regularizers: Sequence[str] = (),
    preset: str | None = None,
    spec: Path | None = None,
    extends: str | None = None,
    settings: Sequence[str] = (),
    start: Mapping[str, Any] | None = None,
    usual_method: str | None = "dm",
) -> dict[str, Any]:
    """The job that the options describe: a file or a preset first, then single options, then ``settings``.

    Args:
        dataset: name of the dataset.
        method: name of the method.
        ipc: images per class.
        iterations: steps of the method.
        seed: seed.
        regularizers: ``name=weight`` or ``name=relative:share``.
        preset: name of a preset.
        spec: JSON or TOML file, ``-`` for standard input.
        extends: a finished job whose images of unchanged classes are kept.
        settings: ``path=value``, a path such as ``evaluation.epochs`` and a value in JSON or plain text.
        start: what a job is already, in place of a file.
        usual_method: name of the method where nothing says one; ``None`` for a job that says none.

    Raises:
        BadInputError: nothing says what to distill, or an option or a file cannot be read.

    >>> build(dataset="digits", ipc=2, regularizers=["mim=relative:1.0"])
    {'dataset': 'digits', 'ipc': 2, 'method': 'dm', 'regularizers': {'mim': {'relative': 1.0}}}
    """
    if dataset is None and preset is None and spec is None and start is None:
        raise BadInputError(
            "nothing says what to distill: name a dataset (`digits` needs no download), a --preset or a --spec file"
        )
    body = read_spec(spec) if spec is not None else copy.deepcopy(dict(start or {}))
    given = {"preset": preset, "dataset": dataset, "ipc": ipc, "seed": seed, "extends": extends}
    body |= {name: value for name, value in given.items() if value is not None}
    if method is not None:
        body["method"] = {"name": method} if "preset" in body else method
    elif usual_method is not None and "method" not in body and "preset" not in body:
        body["method"] = usual_method
    if iterations is not None:
        current = body.get("method", {})
        body["method"] = ({"name": current} if isinstance(current, str) else dict(current)) | {"iterations": iterations}
    if regularizers:
        body["regularizers"] = dict(_regularizer(text) for text in regularizers)
    for text in settings:
        if text.startswith("network.") and "preset" not in body:
            body.setdefault("network", JobSpec.model_fields["network"].get_default(call_default_factory=True).name)
        _set(body, text)
    return body


def overrides(settings: Sequence[str]) -> dict[str, Any]:
    """What a copy of a job changes, as a JSON merge patch.

    >>> overrides(["seed=1", "method.iterations=300"])
    {'seed': 1, 'method': {'iterations': 300}}
    """
    changes: dict[str, Any] = {}
    for text in settings:
        _set(changes, text)
    return changes


def read_spec(path: Path, what: str = "a job") -> dict[str, Any]:
    """The object in a JSON or TOML file, or on standard input for ``-``.

    Args:
        path: the file.
        what: whose fields the object has.

    Raises:
        BadInputError: the file cannot be read, is not JSON or TOML, or holds no object.
    """
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise BadInputError(f"cannot read {path}: {reason}") from error
    try:
        document = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise BadInputError(f"{path} is not valid {'TOML' if path.suffix == '.toml' else 'JSON'}: {error}") from error
    if not isinstance(document, dict):
        raise BadInputError(f"{path} must hold an object with the fields of {what}")
    return document


def assignment(option: str, text: str) -> tuple[str, str]:
    """Split ``name=value``.

    Raises:
        BadInputError: there is no ``=``, or no name before it.
    """
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise BadInputError(f"{option} is {text!r}, but must look like name=value")
    return name, value


def _regularizer(text: str) -> tuple[str, dict[str, float]]:
    name, equals, strength = text.partition("=")
    kind, colon, amount = strength.rpartition(":")
    kind = kind if colon else "weight"
    try:
        if not (name and equals) or kind not in {"weight", "relative"}:
            raise ValueError
        return name, {kind: float(amount)}
    except ValueError:
        raise BadInputError(
            f"--reg is {text!r}, but must look like cmi=2000 (an absolute weight) or cmi=relative:0.2 "
            "(its gradient against the method's)"
        ) from None


def _set(body: dict[str, Any], text: str) -> None:
    path, equals, value = text.partition("=")
    keys = path.split(".")
    if not equals or not all(keys):
        raise BadInputError(f"--set is {text!r}, but must look like evaluation.epochs=300")
    place: Any = body
    for depth, key in enumerate(keys[:-1]):
        place = _child(place, key, ".".join(keys[: depth + 1]))
    if isinstance(place, list):
        place[_index(place, keys[-1], path)] = _value(value)
    else:
        place[keys[-1]] = _value(value)


def _child(place: Any, key: str, path: str) -> Any:
    """The object or list under ``key``, made where it is missing; a bare name becomes an object with it."""
    if isinstance(place, list):
        index: Any = _index(place, key, path)
        child = place[index]
    else:
        index = key
        child = place.setdefault(key, {})
    if isinstance(child, str):
        child = place[index] = {"name": child}
    if not isinstance(child, (dict, list)):
        raise BadInputError(f"--set {path}… would go inside {path}, which is {child!r}")
    return child


def _index(place: Sequence[Any], key: str, path: str) -> int:
    if not key.isdecimal() or int(key) >= len(place):
        raise BadInputError(f"--set {path}: {key!r} is no index of a list of {len(place)}")
    return int(key)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
