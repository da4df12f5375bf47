"""Presets: data files with a configuration, its source, the published score and the one measured here.

A file that names a ``base`` holds what its job has otherwise than that preset's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field

from ddcore.spec.catalog import SpecModel
from ddcore.spec.errors import Problem, SpecError, did_you_mean


class Published(SpecModel):
    """The score that the source of a preset reports; not one that was reached here."""

    accuracy: float = Field(ge=0, le=100, description="Test accuracy in percent.")
    std: float | None = Field(None, ge=0, description="Its standard deviation over networks, in points.")
    tolerance: float = Field(gt=0, description="Points by which a repetition may differ.")
    reading: Literal["in_the_source", "from_memory"] = Field(
        description="How the figure was taken over: read in the source, or known and not looked up again."
    )
    source: str = Field(description="Who reports it, and where the settings come from.")


class Measured(SpecModel):
    """The score of exactly this preset, measured with this package."""

    accuracy: float = Field(ge=0, le=100, description="Test accuracy in percent.")
    std: float | None = Field(None, ge=0, description="Its standard deviation over networks, in points.")
    command: str = Field(description="What measured it; `benchmarks/results` has machine, versions and date.")


class Preset(SpecModel):
    """A named starting point for a job."""

    name: str
    title: str
    citation: str
    job: dict[str, Any]
    published: Published | None = Field(None, description="The score in the literature, where one is known.")
    measured: Measured | None = Field(None, description="The score measured here; null where nobody has run it.")


@cache
def all_presets() -> Mapping[str, Preset]:
    """Every preset that ships with the package, by name such as ``paper/dm-cifar10-ipc10``."""
    read = {}
    root = files("ddcore.spec").joinpath("presets")
    for folder in sorted(root.iterdir(), key=lambda entry: entry.name):
        if not folder.is_dir():
            continue
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.name.endswith(".toml"):
                name = f"{folder.name}/{entry.name.removesuffix('.toml')}"
                read[name] = tomllib.loads(entry.read_text("utf-8"))
    return {name: Preset(name=name, **_completed(fields, read)) for name, fields in read.items()}


def _completed(fields: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A preset's fields with the job of its base, if it has one, under its own."""
    rest = {name: value for name, value in fields.items() if name != "base"}
    if "published" in rest:
        rest["published"] = {"source": rest["citation"], **rest["published"]}
    if "base" not in fields:
        return rest
    base = _completed(others[fields["base"]], others)
    return {**rest, "job": _merge(base["job"], fields["job"])}


def expand(data: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a job's fields over the preset it names, if it names one.

    Objects are merged field by field; a method or network of another name replaces the preset's, and so does an
    evaluation by another protocol.

    Raises:
        SpecError: no such preset.
    """
    fields = dict(data)
    name = fields.pop("preset", None)
    if name is None:
        return fields
    presets = all_presets()
    if not isinstance(name, str) or name not in presets:
        hint = did_you_mean(name, presets) if isinstance(name, str) else ""
        detail = f"unknown preset {name!r}{hint}; known: {', '.join(presets)}"
        raise SpecError([Problem("/preset", "unknown_preset", detail)])
    return _merge(presets[name].job, fields)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Amend objects of one kind field by field; replace everything else."""
    merged = dict(base)
    for key, value in over.items():
        current: Any = merged.get(key)
        both_objects = isinstance(current, Mapping) and isinstance(value, Mapping)
        if both_objects and key != "regularizers" and _same_kind(current, value):
            merged[key] = _merge(current, value)
        else:
            merged[key] = value
    return merged


def _same_kind(current: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    """Whether an object only amends another, rather than choosing something else by name."""
    return all(value.get(key, current.get(key)) == current.get(key) for key in ("name", "protocol"))
