"""What the finished images have in common with the real ones: nearest neighbours, near copies, similarity of classes.

Nothing here reads or moves a random stream of the run, so the images have the same bytes with and without it. The real
images pass in pieces: memory holds the synthetic set, a sample of real images and one piece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

import torch
from torch import Tensor

from ddcore.evaluation.probe import Probe
from ddcore.evaluation.similarity import ClassMeans, mapped, similarity
from ddcore.formulas.neighbours import Neighbours, nearest, ranks, rows_around, stand_out
from ddcore.runtime.context import PIECE, Run
from ddcore.spec.audit import REAL_IMAGES, AuditDocument, AuditedImage, NearestReal
from ddcore.spec.results import Audit
from ddcore.synthetic.initial import real_rows

CLOSEST_SHARE = 0.01
"""Near copies are as close to a real one as this share of real images are to each other, and not as close to others."""
ROUNDING = 0.5 / 255
"""Root mean square difference of pixels that rounding to 8 bits hides."""


def audit(run: Run, probe: Probe, images: Tensor, labels: Tensor) -> AuditDocument:
    """Compare finished images with all real training images.

    Args:
        run: whose real images these are; asked to stop between pieces.
        probe: prepared; its features are compared.
        images: (N, C, H, W) float32 in pixel units.
        labels: (N,) int64.

    Raises:
        Interrupted: the run was asked to stop.
    """
    train, count, labels = run.dataset.train, len(images), labels.cpu()
    sample = real_rows(train, max(1, REAL_IMAGES // len(train.classes)), torch.Generator().manual_seed(0))
    own = torch.cat([torch.full((count,), -1), sample])
    seen = run.pixels(sample)
    queries, around = torch.cat([images.to(seen.device), seen]).flatten(1), rows_around(min(run.dataset.class_counts))
    in_pixels = nearest(queries, _pixels(run), own, around)
    features, of_sample = probe.features(run.dataset.normalize(images.to(seen.device))), _seen(run, probe, sample)
    means = ClassMeans(len(train.classes))
    in_features = nearest(torch.cat([features, of_sample]), _features(run, probe, means), own)
    below = max(ROUNDING, float(in_pixels.distances[count:].quantile(CLOSEST_SHARE)))
    return AuditDocument(
        classes=train.classes,
        real_images=len(train),
        compared_with=len(sample),
        near_copy_below=below,
        nearest_of_real=float(in_pixels.distances[count:].median()),
        images=_images(
            labels,
            _found(in_pixels, count, train.labels),
            _found(in_features, count, train.labels),
            near_copies(in_pixels, below)[:count],
        ),
        similarity=similarity(means.value, features, labels, of_sample, train.labels[sample].cpu()),
        map=mapped(features, labels, of_sample, train.labels[sample].cpu()),
    )


def summary(document: AuditDocument, *, real_pixels: bool) -> Audit:
    """The audit in a few numbers.

    Args:
        document: the whole of it.
        real_pixels: whether the job keeps pixels of real images.
    """
    images = document.images
    return Audit(
        real_pixels=real_pixels,
        images=len(images),
        near_copies=sum(image.near_copy for image in images),
        near_copy_below=document.near_copy_below,
        nearest=median(image.pixels.distance for image in images),
        nearest_of_real=document.nearest_of_real,
        own_class=sum(image.features.label == image.label for image in images) / len(images),
        cka=document.similarity.cka,
        cka_random=document.similarity.cka_random,
    )


def _pixels(run: Run) -> Iterator[Tensor]:
    """All training images in pixel units, (n, C * H * W) at a time."""
    for rows in _pieces(run):
        yield run.pixels(rows).flatten(1)


def _features(run: Run, probe: Probe, means: ClassMeans) -> Iterator[Tensor]:
    """Features of all training images, (n, F) at a time, which the means of the classes are taken of on the way."""
    for rows in _pieces(run):
        features = _seen(run, probe, rows)
        means.add(features, run.dataset.train.labels[rows])
        yield features


def _pieces(run: Run) -> Iterator[Tensor]:
    total = len(run.dataset.train)
    for rows in torch.arange(total).split(PIECE):
        run.check_stop()
        yield rows


def _seen(run: Run, probe: Probe, rows: Tensor) -> Tensor:
    """Features of some training images."""
    return torch.cat([probe.features(run.real_images(piece)) for piece in rows.split(PIECE)])


def _found(neighbours: Neighbours, count: int, labels: Tensor) -> list[NearestReal]:
    """Neighbours of the first ``count`` images, the synthetic ones, ranked among those of the others, the real ones."""
    distances, rows = neighbours.distances[:count], neighbours.rows[:count]
    ranked = ranks(distances, neighbours.distances[count:])
    columns = (rows, labels.cpu()[rows], distances, ranked)
    return [
        NearestReal(row=row, label=label, distance=distance, rank=rank)
        for row, label, distance, rank in zip(*(column.tolist() for column in columns), strict=True)
    ]


def near_copies(found: Neighbours, below: float) -> Tensor:
    """Which images are near copies, (Q,) bool.

    Args:
        found: their neighbours in pixels.
        below: the distance that they may be at most. Within it, only those count that are far nearer to one real image
            than to the next ones, or that rounding hides: blurred images are close to many.
    """
    return (found.distances <= ROUNDING) | ((found.distances <= below) & stand_out(found))


def _images(
    labels: Tensor, in_pixels: Sequence[NearestReal], in_features: Sequence[NearestReal], copies: Tensor
) -> tuple[AuditedImage, ...]:
    return tuple(
        AuditedImage(label=label, pixels=pixels, features=features, near_copy=copy)
        for label, pixels, features, copy in zip(labels.tolist(), in_pixels, in_features, copies.tolist(), strict=True)
    )
