"""Normalisation layers by the names of the specification.

The layers are those of networks.py in github.com/VICO-UoE/DatasetCondensation.
"""

from __future__ import annotations

from torch import nn

from ddcore.errors import ConfigurationError
from ddcore.spec.networks import Norm

GROUPS = 4
"""Groups of ``group`` normalisation."""


def normalization(name: Norm, channels: int, height: int, width: int) -> nn.Module:
    """The layer that follows a convolution with an output of (channels, height, width).

    ``instance`` is group normalisation with one group a channel: affine, eps 1e-5, the same in
    training and evaluation, no running statistics. ``layer`` normalises over all three dimensions.

    Raises:
        ConfigurationError: ``group`` where the channels do not divide into four groups.
    """
    if name == "instance":
        return nn.GroupNorm(channels, channels)
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "layer":
        return nn.LayerNorm([channels, height, width])
    if name == "group":
        if channels % GROUPS:
            raise ConfigurationError(
                f"group normalisation has {GROUPS} groups, but `width` is {channels}; choose a multiple of {GROUPS}"
            )
        return nn.GroupNorm(GROUPS, channels)
    return nn.Identity()
