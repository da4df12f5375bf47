"""How a user's own images are taken in, and what is reported of them: one schema for REST, ``ddctl`` and the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError, ValidatorFunctionWrapHandler, field_validator

from ddcore.spec.catalog import SpecModel
from ddcore.spec.datasets import DatasetFacts

LARGE = 128
"""Pixels a side from which a set is only taken in at a size that the user names."""

Side = Annotated[int, Field(ge=1, le=4096)]


class Choices(SpecModel):
    """What a user says of files that could be read in several ways; readers need no more of the options."""

    image_column: str | None = Field(None, description="Column or array of the images, where several could be it.")
    label_column: str | None = Field(None, description="Column or array of the labels, where several could be it.")
    group_column: str | None = Field(
        None, description="Column of what a cut must not part, such as the patient of several pictures."
    )
    group_folders: bool = Field(False, description="Images of one innermost folder must not be parted by a cut.")
    channels: Literal["first", "last"] | None = Field(
        None, description="Where arrays have the axis of their channels, where it could be either."
    )


class IngestOptions(Choices):
    """What a user decides about images of their own; everything else is read from the files, and nothing is guessed."""

    size: Side | tuple[Side, Side] | Literal["keep"] | None = Field(
        None,
        description="Pixels a side, or (height, width), that every image is brought to; `keep` takes images of one "
        "size as they are, however large.",
    )
    fit: Literal["crop", "pad", "stretch"] = Field(
        "crop",
        description="How an image of another shape is brought to `size`: its middle is cut out, black bars are added, "
        "or it is stretched.",
    )
    test_split: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of each class that is set aside for scoring where the files have no test split.",
    )
    seed: int = Field(0, ge=0, lt=2**32, description="Decides which images are set aside.")
    validation: Literal["auto", "join", "drop"] = Field(
        "auto",
        description="What becomes of validation images: they score where there is no test split and are left out where "
        "there is one (auto), join the training images, or are left out.",
    )
    layout: str | None = Field(None, description="The reader to use, where several know the files.")
    skip_unreadable: bool = Field(False, description="Leave out images that cannot be decoded, and count them.")
    drop_unlabelled: bool = Field(False, description="Leave out images without a label, and count them.")
    drop_empty_classes: bool = Field(
        False, description="Leave out classes that the files list but no image has, and name them."
    )
    drop_leaks: bool = Field(False, description="Leave out test images that are training images too, and count them.")

    @field_validator("size", mode="wrap")
    @classmethod
    def _said_once(cls, value: object, check: ValidatorFunctionWrapHandler) -> object:
        """One fault of a size, not one for each way of writing it."""
        try:
            return check(value)
        except ValidationError as error:
            raise ValueError(
                f"{value!r} is no size; give 1 to 4096 pixels a side, such as 64, or [height, width], such as "
                "[48, 64], or 'keep'"
            ) from error


class SplitReport(BaseModel):
    """Images of one split, by class."""

    images: int
    per_class: Mapping[str, int] = Field(description="Images of each class.")


class SizeCount(BaseModel):
    """How many images have a size as they are stored."""

    width: int
    height: int
    images: int


class Unreadable(BaseModel):
    """An image that cannot be decoded."""

    place: str = Field(description="File, and row where it has rows.")
    reason: str


class Duplicates(BaseModel):
    """Images that occur more than once."""

    within_classes: int = Field(description="Training images that equal an earlier one of their class, pixel by pixel.")
    contradictory: int = Field(description="Different images that occur with more than one label.")
    leaked: int = Field(description="Test images that are training images too.")
    near_within_classes: int = Field(description="Training images that nearly equal another one of their class.")
    near_contradictory: int = Field(description="Training images that nearly equal another one of a different class.")
    near_leaked: int = Field(description="Test images that nearly equal a training image.")
    examples: list[tuple[str, str]] = Field(default_factory=list, description="Some pairs, by their places.")


class LargestIpc(BaseModel):
    """The most images per class that a kind of method can make of a set."""

    kind: str
    most: int


class DatasetReport(BaseModel):
    """What was found in a user's images, and what was made of them."""

    id: str = Field(description="Identity of the content: `ds_` and the first digits of its SHA-256.")
    digest: str = Field(description="SHA-256 over class names, shapes, pixels and labels.")
    name: str
    layout: str = Field(description="The reader that knew the files.")
    why: str = Field(description="What it saw.")
    options: IngestOptions
    shape: tuple[int, int, int] = Field(description="(channels, height, width) of every image as it was taken in.")
    classes: list[str]
    splits: Mapping[str, SplitReport]
    sizes: list[SizeCount] = Field(description="Sizes as the images are stored, the most frequent first, at most 50.")
    distinct_sizes: int = Field(description="How many sizes there are.")
    modes: Mapping[str, int] = Field(description="Kinds of pixels as they are stored, such as `RGB`, `CMYK` or `I;16`.")
    levels: tuple[int, int] | None = Field(description="Range of 16-bit pixels that was scaled to 0 to 255.")
    mean: list[float] = Field(description="Of each channel of the training images, from 0 to 1.")
    std: list[float] = Field(description="Of each channel of the training images, from 0 to 1.")
    constant_channels: list[int] = Field(description="Channels that never vary in the training images.")
    unreadable: list[Unreadable] = Field(description="Images that were left out because they cannot be decoded.")
    unlabelled: int = Field(description="Images that were left out because they have no label.")
    ignored: Mapping[str, int] = Field(description="Files that are no part of the set, by kind.")
    duplicates: Duplicates
    largest_ipc: list[LargestIpc]
    remarks: list[str] = Field(description="What the user should know, in sentences.")

    @property
    def smallest_class(self) -> int:
        """Training images of the smallest class."""
        return min(self.splits["train"].per_class.values())

    @property
    def facts(self) -> DatasetFacts:
        """What is known of the set without loading it. Mirrored images are not presumed to keep their class."""
        return DatasetFacts(
            name=self.name,
            title=self.name,
            shape=self.shape,
            classes=tuple(self.classes),
            train_size=self.splits["train"].images,
            smallest_class=self.smallest_class,
            mean=tuple(self.mean),
            std=tuple(self.std),
            flip=False,
            download=False,
            test_size=self.splits["test"].images,
        )
