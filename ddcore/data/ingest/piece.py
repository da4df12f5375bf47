"""Some images that are decoded together, in this process or in another; needs no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from ddcore.data import image_files
from ddcore.data.image_files import Fit, Picture, Pixels
from ddcore.data.ingest.hashes import Keys

if TYPE_CHECKING:
    from ddcore.data.source import RawImage

_HASHED_BELOW = 1 << 16
"""Numbers of an image that is hashed where it is decoded."""

Size = tuple[int, int]
"""(width, height)."""


@dataclass
class Decoded:
    """Some images of a part, in their order.

    Attributes:
        rows: int64 (n,), places in the part of those that could be decoded and are wanted.
        pixels: of these, (n, C, H, W); nothing where they differ in size, or only heads were read.
        keys: their hashes, made here because several pieces are decoded at once; only of small images of 8 bits.
        kinds: types of their pixels, with the first place of each.
        see_through: bool (n,), which were partly transparent.
        sizes: (width, height) as they are stored, by place.
        modes: how many have which kind of pixels.
        unreadable: what is wrong with the others, by place.
    """

    rows: NDArray[np.int64]
    pixels: Pixels | None
    keys: Keys | None
    kinds: dict[str, int]
    see_through: NDArray[np.bool_]
    sizes: dict[int, Size]
    modes: Counter[str]
    unreadable: dict[int, str]


@dataclass(frozen=True)
class Piece:
    """Images to decode.

    Attributes:
        images: by their places in the part.
        fit: the size that they are brought to; as they are stored where there is none.
        measure_only: whether only their heads are read.
    """

    images: dict[int, RawImage]
    fit: Fit | None
    measure_only: bool

    def decode(self) -> Decoded:
        """What becomes of them; faults are told, and not raised."""
        pictures: dict[int, Picture] = {}
        sizes: dict[int, Size] = {}
        unreadable: dict[int, str] = {}
        for place, image in self.images.items():
            try:
                if self.measure_only and isinstance(image, bytes | str | Path):
                    sizes[place] = image_files.measure(image)
                else:
                    pictures[place] = picture = self._picture(image)
                    sizes[place] = picture.size
            except ValueError as error:
                unreadable[place] = str(error)
        kinds: dict[str, int] = {}
        for place, picture in pictures.items():
            kinds.setdefault(picture.pixels.dtype.name, place)
        pixels = stacked(list(pictures.values()))
        return Decoded(
            np.fromiter(pictures, dtype=np.int64),
            pixels,
            _keys_of(pixels),
            kinds,
            np.fromiter((picture.see_through for picture in pictures.values()), dtype=np.bool_),
            sizes,
            Counter(picture.mode for picture in pictures.values()),
            unreadable,
        )

    def _picture(self, image: RawImage) -> Picture:
        if image is None:
            raise ValueError("no image bytes; images must lie in the file, or beside it where its path says")
        if isinstance(image, np.ndarray):
            return image_files.of_array(image, self.fit)
        return image_files.decode(image, self.fit)


def _keys_of(pixels: Pixels | None) -> Keys | None:
    """Hashes of small images; large ones need more memory for it than several pieces should take at once."""
    if pixels is None or pixels.dtype != np.uint8 or pixels[0].size > _HASHED_BELOW:
        return None
    return Keys.of_block(cast("NDArray[np.uint8]", pixels))


def stacked(pictures: Sequence[Picture]) -> Pixels | None:
    """Pictures as an array (n, C, H, W); grey ones beside coloured ones get three channels.

    Returns:
        Nothing where there are none, or they differ in size or type.
    """
    if len({(picture.pixels.shape[1:], picture.pixels.dtype) for picture in pictures}) != 1:
        return None
    channels = max(len(picture.pixels) for picture in pictures)
    if channels == 1 or any(len(picture.pixels) < channels for picture in pictures):
        pixels = np.stack([picture.pixels.repeat(channels // len(picture.pixels), axis=0) for picture in pictures])
    else:
        # Decoders give channels last: copied so, and turned all at once, they need a fraction of the time.
        last = np.stack([picture.pixels.transpose(1, 2, 0) for picture in pictures])
        pixels = np.ascontiguousarray(last.transpose(0, 3, 1, 2))
    return cast("Pixels", pixels)
