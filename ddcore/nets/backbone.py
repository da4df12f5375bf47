"""A network that others trained, with what makes of the images of a dataset what it was trained to see."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.nets.network import Network, Shape, build
from ddcore.registry import implements
from ddcore.spec import did_you_mean
from ddcore.spec.backbones import BackboneConfig

NEEDS_TIMM = "pip install 'ddservice[zoo]'"


class Trained(nn.Module):
    """A network without its classifier, and how it was trained to see images.

    Args:
        body: features (N, F), or maps that are flattened to them, of images (N, C, H, W).
        shape: channels, height and width of these.
        mean: per channel, the pixel value (0 to 1) that it sees as 0; ``None`` for that of the dataset.
        std: likewise, the distance from there that it sees as 1.
        heads: beginnings of the names that the tensors of its classifier have in a file.
    """

    def __init__(
        self,
        body: nn.Module,
        shape: Shape,
        mean: tuple[float, ...] | None,
        std: tuple[float, ...] | None,
        heads: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.body, self.shape, self.mean, self.std, self.heads = body, shape, mean, std, heads


@implements(BackboneConfig)
class Backbone(Network):
    """A fresh linear classifier on a network of ours or of timm, always in evaluation mode.

    Images arrive in normalised units of the dataset. Grey ones are repeated for a network that takes colours. They are
    turned into the units of the network, which :meth:`in_units_of` sets, and resized: a pixel is a weighted sum of
    those of its column and of those of its row, the weights of a triangle as wide as a pixel of the coarser of both
    images (bilinear, antialiased). As a product of matrices, its slope is the same at every run on a GPU too.

    Its own weights are random: :mod:`ddcore.pretrained.backbones` reads those of a file.

    Args:
        config: which network.
        shape: of the images of the dataset.
        classes: logits.

    Attributes:
        name: of the network, for people.
        trained: the network.

    Raises:
        ConfigurationError: timm is missing or has no such network, or the network does not take such images.
    """

    def __init__(self, config: BackboneConfig, shape: Shape, classes: int) -> None:
        super().__init__(shape, classes)
        self.name = config.timm or getattr(config.network, "name", "network")
        self.trained = _ours(config, shape, classes) if config.network is not None else _of_timm(config)
        self.seen = self.trained.shape
        channels, height, width = self.seen
        if shape[0] not in (1, channels):
            raise ConfigurationError(
                f"the backbone '{config.weights}' takes images of {channels} channel, but the dataset has "
                f"{shape[0]}; use a backbone that was trained on colours, or grey images"
            )
        for name in ("scale", "shift"):
            self.register_buffer(name, torch.full((channels, 1, 1), float(name == "scale")))
        self.resizes = (height, width) != shape[1:]
        if self.resizes:
            self.register_buffer("rows", _weights(shape[1], height))
            self.register_buffer("columns", _weights(shape[2], width))
        self.eval()
        self.classifier = nn.Linear(self._feature_count(), classes)

    @torch.no_grad()
    def in_units_of(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """See images in the normalised units of a dataset.

        Args:
            mean: of the dataset, per channel, in pixel units.
            std: likewise.
        """
        own_mean, own_std = torch.tensor(self.trained.mean or mean), torch.tensor(self.trained.std or std)
        scale, shift = torch.tensor(std) / own_std, (torch.tensor(mean) - own_mean) / own_std
        for name, value in (("scale", scale), ("shift", shift)):
            self.get_buffer(name).copy_(value.expand(self.seen[0]).view(-1, 1, 1))

    def as_seen(self, x: Tensor) -> Tensor:
        """What the network is given of normalised images (N, C, H, W) of the dataset, differentiable."""
        images = x.expand(-1, self.seen[0], -1, -1) * self.get_buffer("scale") + self.get_buffer("shift")
        if not self.resizes:
            return images
        return self.get_buffer("rows") @ images @ self.get_buffer("columns").T

    @override
    def block_outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """The features alone: what lies between them and the images is the network's own affair."""
        body = self.trained.body
        seen = self.as_seen(x)
        return (body.features(seen) if isinstance(body, Network) else body(seen),)

    @override
    def train(self, mode: bool = True) -> Self:
        """Nothing: a frozen network has no training mode."""
        return super().train(False)

    @torch.no_grad()
    def _feature_count(self) -> int:
        """F, by the features of one image.

        Raises:
            ConfigurationError: the network does not take images of the size, or gives no features of an image.
        """
        try:
            features = self.block_outputs(torch.zeros(1, *self.shape))[0]
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigurationError(
                f"the backbone `{self.name}` takes no images of {self.seen[1]} x {self.seen[2]} pixels ({reason}); "
                "leave `size` out, or give the one that it was trained with"
            ) from error
        if features.ndim != 2:
            raise ConfigurationError(
                f"the backbone `{self.name}` gives {tuple(features.shape[1:])} numbers of an image, not a row of "
                "features; use another network"
            )
        return features.shape[1]


def _ours(config: BackboneConfig, shape: Shape, classes: int) -> Trained:
    """One of our networks, for images as the configuration says."""
    if config.network is None:
        raise ValueError("the backbone is none of our networks")
    seen = config.sees(shape)
    body = build(config.network, seen, classes)
    del body.classifier  # it tells other classes apart
    return Trained(body, seen, config.mean, config.std, ("classifier.",))


def _of_timm(config: BackboneConfig) -> Trained:
    """A network of timm without weights; nothing is fetched.

    Raises:
        ConfigurationError: timm is missing, or has none of the name.
    """
    name = str(config.timm)
    try:
        timm = cast(Any, importlib.import_module("timm"))
    except ImportError as error:
        raise ConfigurationError(
            f"the backbone is timm's `{name}`, but timm is not installed ({error.name} is missing): {NEEDS_TIMM} on "
            "every worker, or give a `network` of ours"
        ) from error
    if not timm.is_model(name) or ("." in name and name not in timm.list_pretrained()):
        known = timm.list_pretrained() if "." in name else timm.list_models()
        raise ConfigurationError(
            f"timm {timm.__version__} has no network `{name}`{did_you_mean(name, known)}; timm.list_models() and "
            "timm.list_pretrained() list those that it has"
        )
    body = _made(timm, name, config.size)
    usual = body.pretrained_cfg
    side, mean = config.size, config.mean or tuple(usual["mean"])
    channels, height, width = usual["input_size"]
    if len(mean) != channels:
        raise ConfigurationError(
            f"timm's `{name}` takes images of {channels} channels, but `mean` has {len(mean)} values; give {channels}"
        )
    heads = usual.get("classifier") or ()
    named = (heads,) if isinstance(heads, str) else tuple(heads)
    return Trained(
        body,
        (channels, side or height, side or width),
        mean,
        config.std or tuple(usual["std"]),
        tuple(f"{head}." for head in named),
    )


def _made(timm: Any, name: str, size: int | None) -> Any:
    """The network, which interpolates its positions where it is for images of one size and shall see others."""
    if size is not None and timm.get_pretrained_cfg(name).fixed_input_size:
        with suppress(TypeError):  # not every network can
            return timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)
    return timm.create_model(name, pretrained=False, num_classes=0)


def _weights(side: int, wanted: int) -> Tensor:
    """What each of ``wanted`` pixels takes of each of ``side``: float32 (wanted, side), rows of sum 1."""
    step = side / wanted
    reach = max(step, 1.0)
    places = (torch.arange(wanted, dtype=torch.float64).view(-1, 1) + 0.5) * step
    taken = (1 - (torch.arange(side, dtype=torch.float64) + 0.5 - places).abs() / reach).clamp(min=0)
    return (taken / taken.sum(dim=1, keepdim=True)).float()
