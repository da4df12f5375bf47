"""Labelled images: where they come from and how they are drawn."""

from ddcore.data.dataset import Dataset, ImageSet
from ddcore.data.sources import load

__all__ = ["Dataset", "ImageSet", "load"]
