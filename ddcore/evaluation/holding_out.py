"""Training images that a job never sees: what is read on them compares jobs, and not only the steps of one."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from torch import Generator

from ddcore.data.dataset import Dataset, ImageSet
from ddcore.evaluation.coresets import validation_rows


def hold_out(dataset: Dataset, share: float) -> tuple[Dataset, ImageSet]:
    """Take images of each class out of the training split.

    They are the same for every job on the dataset, whatever its seed. The statistics that normalise stay those of the
    whole set, so that images of jobs with and without are in the same units.

    Args:
        dataset: the whole.
        share: of each class, 0 to 1; at least one image, see :func:`ddcore.evaluation.coresets.validation_rows`.

    Returns:
        The dataset without them, under a digest of its own, and the images that were taken out.
    """
    train = dataset.train
    rows = validation_rows(dataset, share, Generator().manual_seed(0))
    stays = torch.ones(len(train), dtype=torch.bool)
    stays[rows] = False
    left = replace(train, images=train.images[stays], labels=train.labels[stays])
    held = replace(train, images=train.images[rows], labels=train.labels[rows], remarks=())
    digest = hashlib.sha256(f"{dataset.digest} without {rows.sort().values.tolist()}".encode()).hexdigest()
    return replace(dataset, train=left, digest=digest), held
