"""From the options of a command to the request of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ddclient import submission
from ddclient.errors import BadInputError
from ddclient.study_client import budget, values

AUTO = "auto"


def build(
    *,
    file: Path | None = None,
    job: Mapping[str, Any],
    space: Sequence[str] = (),
    jobs: int | None = None,
    minutes: float | None = None,
    seeds: str | None = None,
    scoring: Sequence[str] = (),
    **fields: Any,
) -> dict[str, Any]:
    """The request that the options describe: a file first, then what single options say.

    Args:
        file: JSON or TOML file with a whole request, ``-`` for standard input.
        job: options of the job that all trials share, as :func:`ddclient.submission.build` takes them.
        space: ``path=values``, such as ``method=dm,idm`` or ``regularizers.mim.weight=0.1..10:5:log``.
        jobs: budget in jobs.
        minutes: budget in minutes.
        seeds: of each trial, separated by commas.
        scoring: ``field=value``, such as ``networks=2``.
        fields: other fields of a request; those that are ``None`` are left out.

    Raises:
        BadInputError: nothing says what to search, or an option or the file cannot be read.

    >>> build(job={"dataset": "digits", "ipc": 1}, space=["method=dm,idm"], jobs=4)
    {'base': {'dataset': 'digits', 'ipc': 1}, 'space': {'method': ['dm', 'idm']}, 'budget': {'jobs': 4}}
    """
    request = submission.read_spec(file, "a study") if file is not None else {}
    searched = {**(request.get("space") or {}), **dict(_values(text) for text in space)}
    request["base"] = _base(request.get("base"), job, searched)
    if searched:
        request["space"] = searched
    request |= budget(jobs, minutes)
    if seeds is not None:
        request["seeds"] = _seeds(seeds)
    if scoring:
        request["scoring"] = {**(request.get("scoring") or {}), **submission.overrides(scoring)}
    return request | {name: value for name, value in fields.items() if value is not None}


def _base(known: Any, job: Mapping[str, Any], space: Mapping[str, Any]) -> dict[str, Any]:
    """The job that all trials share; its method is what the space tries, or is chosen by the automatic study."""
    if known is not None and not isinstance(known, Mapping):
        raise BadInputError(f"`base` is {known!r}, but must be an object with the fields of a job")
    given = {name: value for name, value in job.items() if value is not None}
    usual = None if {"method", "preset"} & space.keys() else "dm" if space else AUTO
    return submission.build(start=known, usual_method=usual, **given)


def _values(text: str) -> tuple[str, Any]:
    path, line = submission.assignment("--space", text)
    return path, values(path, line)


def _seeds(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdecimal() for word in words):
        raise BadInputError(f"--seeds is {text!r}, but must be whole numbers separated by commas, such as 0,1,2")
    return [int(word) for word in words]
