"""The network of the probe: trained once for a dataset and cached, or of random weights where a job asks for these."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.nets.functional import Functional, Params
from ddcore.pretrained.teachers import TeacherPool
from ddcore.runtime.context import Run
from ddcore.spec.probe import PROBE_NETWORK, probe_images_trained_on, probe_training
from ddcore.spec.work import TRAINING, DataSizes

Network = tuple[Functional, Params]
"""An architecture with the parameters of one network."""


def seen_by_probes(run: Run) -> Run:
    """A run as its probe sees it: plain images in float32 and uncompiled, however the job learns its own."""
    view = copy.copy(run)
    view.dataset = replace(run.dataset, whitening=None)
    sizes = _sizes(run)
    images = probe_training(sizes).epochs * probe_images_trained_on(sizes)
    view.compute = run.compute.exact(TRAINING * images * PROBE_NETWORK.flop(sizes.shape, sizes.classes) / 2)
    return view


def _sizes(run: Run) -> DataSizes:
    dataset = run.dataset
    return DataSizes(dataset.shape, dataset.class_counts, len(dataset.test))


def other_rows(run: Run, per_class: int) -> list[Tensor]:
    """Training rows of each class for all else than reading, in an order that no job decides.

    Args:
        run: its sampler leaves out the rows that are read with.
        per_class: rows of each class, as far as it has them.
    """
    return run.sampler.draw_each(per_class, torch.Generator().manual_seed(0))


def trained(run: Run, sample: Tensor, calibrating: Sequence[Tensor]) -> Network:
    """The trained network, which has seen neither the images that it reads with nor those that calibrate it.

    Args:
        run: as :func:`seen_by_probes` gives it.
        sample: int64 rows that are read with.
        calibrating: int64 rows of each class.
    """
    sizes = _sizes(run)
    unseen = torch.zeros(len(run.dataset.train), dtype=torch.bool)
    unseen[torch.cat([sample, *calibrating])] = True
    rows = (~unseen).nonzero().flatten()
    if len(rows) > probe_images_trained_on(sizes):
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        rows = rows[chosen[: probe_images_trained_on(sizes)]]
    pool = TeacherPool(probe_training(sizes), run, rows=rows)
    pool.prepare()
    return pool.functional, pool[0]


def untrained(run: Run, rows: Tensor) -> Network:
    """Random weights, always the same, below the least-squares classifier of some real images.

    Args:
        run: as :func:`seen_by_probes` gives it.
        rows: int64 rows of the images that the classifier is fitted to.
    """
    functional = run.network(PROBE_NETWORK)
    params = functional.new(torch.Generator(run.compute.device).manual_seed(0))
    features = functional.features(params, run.real_images(rows))
    weight, bias = _least_squares(features, run.dataset.train.labels[rows].to(features.device))
    return functional, {**params, "classifier.weight": weight, "classifier.bias": bias}


def _least_squares(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the ridge classifier of one-hot labels, in its dual form."""
    mean = features.mean(dim=0)
    centred = (features - mean).double()
    targets = F.one_hot(labels).double()
    gram = centred @ centred.T
    ridge = 0.1 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weight = (torch.linalg.solve(gram + ridge, targets - targets.mean(dim=0)).T @ centred).float()
    return weight, targets.mean(dim=0).float() - weight @ mean
