"""How stored rows become the images that networks train on, one way a file.

A file here with a class or function decorated by :func:`ddcore.registry.implements` is found; nothing lists it.
"""

from __future__ import annotations

from torch import Tensor

from ddcore.registry import implementation
from ddcore.spec import DecoderConfig
from ddcore.synthetic.decoders.addressed import Addressed
from ddcore.synthetic.decoders.decoder import Decoder
from ddcore.synthetic.decoders.identity import Identity
from ddcore.synthetic.decoders.mosaic import BoundedMosaic, Mosaic, MultiScaleMosaic

__all__ = ["Addressed", "BoundedMosaic", "Decoder", "Identity", "Mosaic", "MultiScaleMosaic", "build"]


def build(config: DecoderConfig, shape: tuple[int, int, int], filling: Tensor | float = 0.0) -> Decoder:
    """The decoder that a job asks for, where it learns nothing itself (:class:`Addressed` is made by its method).

    What implements it is called with these three arguments.

    Args:
        config: which one, and its options.
        shape: (channels, height, width) of an image.
        filling: of tiles that reach over the border of an image, (channels, 1, 1) or one value.

    Raises:
        ConfigurationError: it does not fit the images, or nothing implements it.
    """
    decoder: Decoder = implementation(config, __name__)(config, shape, filling)
    return decoder
