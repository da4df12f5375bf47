"""Synthetic and real images in the features of the probe: where they lie, and how alike their classes are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.evaluation.plane import on_plane
from ddcore.formulas.cka import linear_cka
from ddcore.spec.audit import MAPPED_IMAGES, ClassSimilarity, MapPoint

_LEAST_CLASSES = 3
"""Two means always lie on a line, so that any two sets of two agree."""


class ClassMeans:
    """Mean features of each class, of images that come piece by piece.

    Args:
        classes: how many there are.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._sums: Tensor | None = None
        self._counts = torch.zeros(classes, 1, dtype=torch.float64)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in features (n, F) of images with labels (n,)."""
        members = F.one_hot(labels.cpu(), self._classes).double()
        sums = members.T @ features.cpu().double()
        self._sums = sums if self._sums is None else self._sums + sums
        self._counts += members.sum(dim=0).unsqueeze(1)

    @property
    def value(self) -> Tensor:
        """(C, F) float64 on the CPU; every class has had an image."""
        if self._sums is None:
            raise ValueError("no images were taken in")
        return self._sums / self._counts


def similarity(real: Tensor, synthetic: Tensor, labels: Tensor, sample: Tensor, of_sample: Tensor) -> ClassSimilarity:
    """How alike the classes are in the synthetic and in the real images.

    Linear CKA with the classes as the things compared: whether classes that are close in the real images are close in
    the synthetic ones. Random real images in their place say what as few images can come to.

    Args:
        real: (C, F) means of all real images of each class.
        synthetic: (N, F) features of the synthetic images, whose labels are ``labels``.
        labels: (N,) int64.
        sample: (R, F) features of random real images, class-major.
        of_sample: (R,) int64, their labels.
    """
    classes = len(real)
    each = min(int(torch.bincount(labels).min()), int(torch.bincount(of_sample).min()))
    chosen = _first(of_sample, each)
    random = _means(sample[chosen.to(sample.device)], of_sample[chosen], classes)
    found, enough = _means(synthetic, labels, classes), classes >= _LEAST_CLASSES
    cosines = F.cosine_similarity(found - found.mean(dim=0), real - real.mean(dim=0), dim=1, eps=0.0)
    return ClassSimilarity(
        cka=_finite(linear_cka(found, real)) if enough else None,
        cka_random=_finite(linear_cka(random, real)) if enough else None,
        random_per_class=each,
        by_class=tuple(_finite(cosine) for cosine in cosines.tolist()),
    )


def mapped(synthetic: Tensor, labels: Tensor, sample: Tensor, of_sample: Tensor) -> tuple[MapPoint, ...]:
    """Real and synthetic images on one plane, by their features; arguments as of :func:`similarity`."""
    each = max(1, MAPPED_IMAGES // (int(labels.max()) + 1))
    shown, beside = _first(labels, each), _first(of_sample, each)
    points = on_plane(torch.cat([sample[beside.to(sample.device)], synthetic[shown.to(synthetic.device)]])).tolist()
    kinds = [(label, True) for label in of_sample[beside].tolist()] + [
        (label, False) for label in labels[shown].tolist()
    ]
    return tuple(
        MapPoint(x=round(x, 3), y=round(y, 3), label=label, real=real)
        for (x, y), (label, real) in zip(points, kinds, strict=True)
    )


def _means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    means = ClassMeans(classes)
    means.add(features, labels)
    return means.value


def _first(labels: Tensor, count: int) -> Tensor:
    """Rows of the first so many images of each class, in order."""
    before = F.one_hot(labels).cumsum(dim=0).gather(1, labels.unsqueeze(1)).squeeze(1)
    return (before <= count).nonzero().flatten()


def _finite(value: float) -> float | None:
    """JSON has no NaN; a mean in the middle of all has no direction."""
    return value if math.isfinite(value) else None
