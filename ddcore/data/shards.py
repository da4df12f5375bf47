"""Which files make up a split: all of one export, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ddcore.errors import DataError

_NUMBERED = re.compile(r"^(?P<split>\w+?)-(?P<number>\d+)-of-(?P<total>\d+)(?:-(?P<mark>[0-9A-Za-z]+))?$")
"""``train-00000-of-00003``, as Hugging Face libraries write it, with a fingerprint of the file behind or without."""


def check_complete(files: Sequence[Path]) -> None:
    """Refuse a split of which a file is missing, or that holds a file twice or one of another export.

    Args:
        files: those of the split, at least one.

    Raises:
        DataError: naming the files that are missing or odd, and what to do.
    """
    numbered = {file: found for file in files if (found := _NUMBERED.match(file.stem))}
    if not numbered:
        _refuse_copies(files)
        _refuse_gaps(files)
        return
    odd = [file.name for file in files if file not in numbered]
    if odd:
        raise DataError(
            f"{files[0].parent} holds {', '.join(odd)} beside numbered files of the same split, perhaps a copy of one; "
            "move it elsewhere, or every image in it would count twice"
        )
    totals = sorted({int(found["total"]) for found in numbered.values()})
    if len(totals) > 1:
        raise DataError(
            f"{files[0].parent} holds files of several exports of one split, of {' and of '.join(map(str, totals))} "
            f"files ({_names(files)}); keep those of one"
        )
    if len({found["mark"] is None for found in numbered.values()}) > 1:
        raise DataError(
            f"{files[0].parent} holds files of two exports of one split, one with fingerprints in the names and one "
            f"without ({_names(files)}); keep one"
        )
    of_number: dict[int, list[str]] = {}
    for file, found in numbered.items():
        of_number.setdefault(int(found["number"]), []).append(file.name)
    twice = [name for names in of_number.values() if len(names) > 1 for name in names]
    if twice:
        raise DataError(f"{files[0].parent} holds files of two exports of one split ({', '.join(twice)}); keep one")
    missing = sorted(set(range(totals[0])) - of_number.keys())
    if missing or len(of_number) != totals[0]:
        raise DataError(
            f"{files[0].parent} holds {len(files)} of {totals[0]} files of a split ({_names(files)}); copy the rest: "
            f"number {', '.join(map(str, missing[:5]))}{' …' if len(missing) > 5 else ''}"
        )


def _refuse_copies(files: Sequence[Path]) -> None:
    """Of files without numbers, none may bear the name of another and more: file managers name copies so."""
    for file in files:
        for other in files:
            behind = other.stem.removeprefix(file.stem)
            copied = behind.lower().endswith("copy") or not behind[:1].isalnum()
            if file is not other and behind != other.stem and copied:
                raise DataError(
                    f"{other.name} looks like a copy of {file.name} in {file.parent}; move it elsewhere, or "
                    "give it a name of its own: every image in it would count twice"
                )


def _refuse_gaps(files: Sequence[Path]) -> None:
    """Of files that are counted without a total, none may be missing between the first and the last."""
    counted = [re.fullmatch(r"(.*?)(\d+)", file.stem) for file in files]
    found = [(match[1], int(match[2])) for match in counted if match is not None]
    if len(found) < len(files) or len({prefix for prefix, _ in found}) > 1:
        return
    numbers = [number for _, number in found]
    missing = sorted(set(range(min(numbers), max(numbers) + 1)) - set(numbers))
    if missing:
        raise DataError(
            f"{files[0].parent} holds {_names(files)}, but not number {', '.join(map(str, missing[:5]))}"
            f"{' …' if len(missing) > 5 else ''}; copy the rest"
        )


def _names(files: Sequence[Path]) -> str:
    return ", ".join(file.name for file in files)
