"""ZCA whitening: pixels without the correlations of natural images.

Trajectory matching learns in whitened pixels. The whitening takes the place of the mean and deviation of each
channel: it is fitted to the training images alone and applied to whatever a network sees, the test images
included. Its inverse makes pictures of what was learned.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; settings of Nguyen et al., NeurIPS 2021
(arXiv 2107.13034), which Cazenavette et al., CVPR 2022 (arXiv 2203.11932) take over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ddcore.data.dataset import Dataset
from ddcore.errors import ConfigurationError
from ddcore.machine.cache import note_use
from ddcore.machine.files import write_atomically

EPSILON = 0.1
"""Added to every eigenvalue of the covariance, under the root, as published."""

MOST_VALUES = 64 * 64 * 3
"""Largest image (channels x height x width) that is whitened: the matrix has the square of it."""

_FORMAT = 1
_PIECE = 4096
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Whitening:
    """The affine map x -> (x - mean) T of flattened pixels, D = channels x height x width values an image.

    Attributes:
        mean: (D,) float32, in pixel units.
        matrix: T, (D, D) float32, symmetric and positive definite.

    Raises:
        ValueError: the tensors do not fit each other.
    """

    mean: Tensor
    matrix: Tensor

    def __post_init__(self) -> None:
        size = len(self.mean)
        if self.mean.shape != (size,) or self.matrix.shape != (size, size):
            raise ValueError(f"a mean {tuple(self.mean.shape)} and a matrix {tuple(self.matrix.shape)} do not whiten")

    @cached_property
    def inverse(self) -> Tensor:
        """T^-1, (D, D) float32: made when the first picture is."""
        return torch.cholesky_inverse(torch.linalg.cholesky(self.matrix.double())).float()

    def apply(self, images: Tensor) -> Tensor:
        """Whiten images.

        Args:
            images: (N, C, H, W); uint8, or floating point in pixel units.

        Returns:
            float32 of the same shape, on the device of the images.
        """
        unit = 255.0 if images.dtype == torch.uint8 else 1.0
        pixels = images.flatten(1).to(torch.float32) / unit
        with _full_precision():
            return ((pixels - self._on(images.device, "mean")) @ self._on(images.device, "matrix")).view(images.shape)

    def invert(self, images: Tensor) -> Tensor:
        """Turn whitened images into pixel units, float32 of the same shape and never clamped."""
        with _full_precision():
            pixels = images.flatten(1).to(torch.float32) @ self._on(images.device, "inverse")
        return (pixels + self._on(images.device, "mean")).view(images.shape)

    def _on(self, device: torch.device, name: str) -> Tensor:
        """One of the tensors on a device, moved there once."""
        copies: dict[tuple[torch.device, str], Tensor] = self.__dict__.setdefault("_copies", {})
        if (device, name) not in copies:
            copies[device, name] = getattr(self, name).to(device)
        return copies[device, name]


def fit(images: Tensor, epsilon: float = EPSILON) -> Whitening:
    """Fit the whitening of training images: T = U (L + epsilon)^-1/2 U' of the covariance U L U' (divisor N - 1).

    In float64, on the CPU, whatever the machine has: equal images give equal maps.

    Args:
        images: (N, C, H, W), N at least 2; uint8, or floating point in pixel units.
        epsilon: added to the eigenvalues, positive.

    Raises:
        ValueError: fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} images have no covariance; at least 2 are needed")
    mean = torch.stack([piece.sum(dim=0) for piece in _pieces(images)]).sum(dim=0) / len(images)
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for piece in _pieces(images):
        centred = piece - mean
        covariance.addmm_(centred.T, centred)
    values, vectors = torch.linalg.eigh(covariance / (len(images) - 1))
    matrix = (vectors / (values.clamp(min=0) + epsilon).sqrt()) @ vectors.T
    return Whitening(mean.float(), ((matrix + matrix.T) / 2).float())


def whitened(dataset: Dataset, cache: Path | None = None) -> Dataset:
    """The same images in whitened units.

    Args:
        dataset: images that have no whitening yet.
        cache: folder shared by jobs; the map is fitted once for each dataset and then read from here.

    Raises:
        ConfigurationError: the images are too large.
    """
    channels, height, width = dataset.shape
    if channels * height * width > MOST_VALUES:
        raise ConfigurationError(
            f"`whitening` is true, but the images of {dataset.name} have {channels} x {height} x {width} values; its "
            f"matrix is made for at most {MOST_VALUES} (3 x 64 x 64). Set `whitening` to false"
        )
    path = None if cache is None else cache / "whitening" / f"{_FORMAT}-{EPSILON}-{dataset.digest}.safetensors"
    found = None if path is None else _read(path)
    if found is None:
        found = fit(dataset.train.images)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, save({"mean": found.mean, "matrix": found.matrix}))
    return replace(dataset, whitening=found)


def _read(path: Path) -> Whitening | None:
    """The map in a file, or ``None`` where there is none or it is damaged."""
    if not path.is_file():
        return None
    try:
        tensors = load(path.read_bytes())
        note_use(path)
        return Whitening(tensors["mean"], tensors["matrix"])
    except (SafetensorError, KeyError, ValueError) as error:
        _logger.warning("fitting the whitening again: %s is damaged (%s)", path, error)
        return None


def _pieces(images: Tensor) -> Iterator[Tensor]:
    """Flattened pixels in pixel units, float64, a few thousand images at a time."""
    unit = 255.0 if images.dtype == torch.uint8 else 1.0
    for piece in images.split(_PIECE):
        yield piece.cpu().flatten(1).double() / unit


@contextmanager
def _full_precision() -> Iterator[None]:
    """Products in float32 also where networks may round their factors (TF32 on CUDA)."""
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(usual)
