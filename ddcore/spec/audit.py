"""``audit.json``: every finished image beside its nearest real ones, and where both lie in the features of the probe.

The engine writes it beside the bundle, the dashboard and the report read it. Its summary is
:class:`ddcore.spec.results.Audit`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

REAL_IMAGES = 500
"""Real images that distances are compared with, at most; but one of each class at least."""
MAPPED_IMAGES = 200
"""Real images on the map, and synthetic ones, at most; but one of each class at least."""
FREE_FLOP = 1e12
"""An audit of so few operations is made unasked: seconds on a processor."""
SHARE_OF_JOB = 0.1
"""Share of the operations of the rest of a job that it may take to be made unasked."""


class _Part(BaseModel):
    """Frozen; fields of later minor additions are ignored."""

    model_config = ConfigDict(frozen=True)


class NearestReal(_Part):
    """The real training image that is nearest to a synthetic one."""

    row: int = Field(description="Row of the training images, from 0.")
    label: int = Field(description="Its class.")
    distance: float = Field(description="Root mean square difference of all values.")
    rank: float = Field(
        ge=0, le=1, description="Share of real images that are at most as far from their own nearest real neighbour."
    )


class AuditedImage(_Part):
    """A synthetic image and its nearest real ones."""

    label: int
    pixels: NearestReal = Field(description="By pixels, 0 to 1.")
    features: NearestReal = Field(description="By the features of the probe.")
    near_copy: bool = Field(
        description="Whether the distance in pixels is at most `near_copy_below`, and at most half the mean distance "
        "to the nearest real images (50, or a tenth of the smallest class)."
    )


class ClassSimilarity(_Part):
    """How alike the classes are in the synthetic and in the real images, by their mean features in the probe."""

    cka: float | None = Field(description="Linear CKA of the class means, 0 to 1; null with fewer than three classes.")
    cka_random: float | None = Field(description="The same of random real images in place of the synthetic ones.")
    random_per_class: int = Field(description="How many of those there are of each class.")
    by_class: tuple[float | None, ...] = Field(
        description="Of each class, the cosine of its two mean features, -1 to 1, the mean of all classes subtracted; "
        "null where a mean lies in the middle of all."
    )


class MapPoint(_Part):
    """An image on the map; the axes have no unit."""

    x: float
    y: float
    label: int
    real: bool


class AuditDocument(_Part):
    """The content of ``audit.json``."""

    schema_version: Literal[1] = 1
    classes: tuple[str, ...] = Field(description="Names of the classes, in the order of the labels.")
    real_images: int = Field(description="Real training images that were searched, all of them.")
    compared_with: int = Field(description="Real images whose distances to their nearest real neighbour make `rank`.")
    near_copy_below: float = Field(description="Root mean square difference of pixels, 0 to 1.")
    nearest_of_real: float = Field(description="Median distance of those, in the same unit.")
    images: tuple[AuditedImage, ...] = Field(description="In the order of the bundle's `images`.")
    similarity: ClassSimilarity
    map: tuple[MapPoint, ...] = Field(description="Two-dimensional t-SNE of features; similar images lie together.")
