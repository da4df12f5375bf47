"""Presets found by method, dataset and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ddcore.spec import METHODS, Preset, all_presets

SHOWN = 12


@dataclass(frozen=True)
class Search:
    """What presets are looked for; an empty word does not restrict."""

    text: str = ""
    method: str = ""
    dataset: str = ""

    @property
    def asked(self) -> bool:
        """Whether anything is."""
        return bool(self.text.strip() or self.method or self.dataset)

    def found(self) -> Sequence[Preset]:
        """Every preset that fits: each word of the text stands in its name, title or citation."""
        wanted = self.text.casefold().split()
        return [preset for preset in all_presets().values() if self._fits(preset) and _says(preset, wanted)]

    def _fits(self, preset: Preset) -> bool:
        return self.method in ("", method_of(preset.job)) and self.dataset in ("", preset.job["dataset"])


def method_of(job: Mapping[str, Any]) -> str:
    """Name of the method of a job in either spelling.

    >>> method_of({"method": "dm"}), method_of({"method": {"name": "dm", "iterations": 10}})
    ('dm', 'dm')
    """
    method = job["method"]
    return str(method["name"] if isinstance(method, Mapping) else method)


def methods() -> Sequence[str]:
    """Methods that have presets, in the order of the catalog."""
    named = {method_of(preset.job) for preset in all_presets().values()}
    return [name for name in METHODS if name in named]


def datasets() -> Sequence[str]:
    """Datasets that have presets."""
    return sorted({str(preset.job["dataset"]) for preset in all_presets().values()})


def _says(preset: Preset, words: Sequence[str]) -> bool:
    text = " ".join((preset.name, preset.title, preset.citation)).casefold()
    return all(word in text for word in words)
