"""Labelled images: where they come from, how they are drawn, how they are augmented."""

from ddcore.data.images import Dataset, ImageSet
from ddcore.data.sources import load

__all__ = ["Dataset", "ImageSet", "load"]
