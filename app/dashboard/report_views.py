"""What was found in a user's images, in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddcore.spec.ingest import DatasetReport, Duplicates, SplitReport

_MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "palette of colours",
    "RGB": "colour",
    "RGBA": "colour with transparency",
    "CMYK": "colour for print",
    "YCbCr": "colour, as video has it",
    "I;16": "grey of 16 bits",
    "I;16B": "grey of 16 bits",
    "I": "grey of 32 bits",
    "F": "grey of floating-point numbers",
}
_FITS = {
    "crop": "their middle was cut out",
    "pad": "black bars were added",
    "stretch": "they were stretched",
}
_SPLITS = {"train": "Training", "test": "Scoring"}
"""What a split is for, in the order of the columns."""
_CHANNELS = {1: ("Grey",), 3: ("Red", "Green", "Blue")}
_REPETITIONS = (
    ("within_classes", "near_within_classes", "Training images that equal another of their class"),
    ("contradictory", "near_contradictory", "Images with more than one label"),
    ("leaked", "near_leaked", "Test images that are training images too"),
)


@dataclass(frozen=True)
class ClassRow:
    """Images of one class, in the order of the splits."""

    name: str
    counts: Sequence[int]


@dataclass(frozen=True)
class Channel:
    """One channel of the training images; values from 0 to 1."""

    name: str
    mean: float
    std: float
    constant: bool


@dataclass(frozen=True)
class Repetition:
    """How many images are exact, and how many are near repetitions."""

    label: str
    exact: int
    near: int


@dataclass(frozen=True)
class ReportView:
    """A report as the page shows it."""

    report: DatasetReport

    @property
    def splits(self) -> Mapping[str, SplitReport]:
        """Images of each split by what it is for, training first."""
        known = self.report.splits
        return {title: known[name] for name, title in _SPLITS.items() if name in known}

    @property
    def classes(self) -> list[ClassRow]:
        """Each class with its images in every split."""
        splits = self.splits.values()
        return [ClassRow(name, [split.per_class.get(name, 0) for split in splits]) for name in self.report.classes]

    @property
    def pixels(self) -> list[tuple[str, str, int]]:
        """Kinds of pixels as they are stored, the most frequent first: name, meaning, images."""
        return [(mode, _MODES.get(mode, ""), count) for mode, count in _most_frequent(self.report.modes)]

    @property
    def more_sizes(self) -> int:
        """Sizes that the report does not list."""
        return max(0, self.report.distinct_sizes - len(self.report.sizes))

    @property
    def conversions(self) -> list[str]:
        """What was done to images, in sentences."""
        channels, height, width = self.report.shape
        told = []
        if any((one.width, one.height) != (width, height) for one in self.report.sizes):
            told.append(f"Images of other sizes were brought to {width} × {height}: {_FITS[self.report.options.fit]}.")
        plain = "L" if channels == 1 else "RGB"
        others = sum(count for mode, count in self.report.modes.items() if mode != plain)
        if others:
            made = "grey" if channels == 1 else "colour"
            told.append(f"{others:,} {'image was' if others == 1 else 'images were'} converted to {made} of 8 bits.")
        if self.report.levels:
            low, high = self.report.levels
            told.append(f"Pixels of 16 bits from {low:,} to {high:,} were scaled to 0 to 255.")
        return told

    @property
    def left_out(self) -> list[tuple[str, int]]:
        """What is not in the set: kind and number."""
        counts = [
            ("images that cannot be decoded", len(self.report.unreadable)),
            ("images without a label", self.report.unlabelled),
            *_most_frequent(self.report.ignored),
        ]
        return [(kind, count) for kind, count in counts if count]

    @property
    def repetitions(self) -> list[Repetition]:
        """Images that occur more than once, by what is wrong with that; empty where none do."""
        found: Duplicates = self.report.duplicates
        rows = [Repetition(label, getattr(found, exact), getattr(found, near)) for exact, near, label in _REPETITIONS]
        return [row for row in rows if row.exact or row.near]

    @property
    def channels(self) -> list[Channel]:
        """Statistics of the training images."""
        names = _CHANNELS.get(len(self.report.mean)) or [f"Channel {n}" for n in range(len(self.report.mean))]
        constant = self.report.constant_channels
        pairs = zip(names, self.report.mean, self.report.std, strict=True)
        return [Channel(name, mean, std, number in constant) for number, (name, mean, std) in enumerate(pairs)]


def _most_frequent(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The largest number first, equal ones by name."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))
