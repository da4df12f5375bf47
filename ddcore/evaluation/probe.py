"""The probe: two readings of the synthetic set that are the same for every method and regulariser.

``mi_lower_bound`` is an InfoNCE bound (nats, at most log C) on the mutual information between a
synthetic image and a real one; ``cmi`` is the empirical I(S; Z | Y) (nats) of softmax features. Both
look through one fixed network. The real side is a fixed class-balanced sample that no update draws and
that the network was not trained on. Neither depends on the seed or the regularisers of the job, so that
jobs on one dataset can be compared.

The critic of the bound is f(s, r) = log sum_y p(y | s) p(y | r) / p(y), with p(y | .) the network's
posterior: the log density ratio of the pair, if the posterior were exact. Any critic that is
independent of the sample it is evaluated on gives a valid bound; a sharp one gives a sharp bound. The
temperature of the posterior maximises the bound between two other real samples, once, before the run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.data.dataset import Dataset
from ddcore.formulas.information import Pairs, capped, empirical_cmi, infonce_bound
from ddcore.nets.functional import Functional, Params
from ddcore.pretrained.teachers import TeacherPool
from ddcore.run.context import Run
from ddcore.spec import ConvNetConfig, TeacherConfig
from ddcore.spec.readings import CMI, MI_LOWER_BOUND
from ddcore.spec.results import ProbeReport
from ddcore.synthetic.set import SyntheticSet

_TEMPERATURES = tuple(0.1 * 1.25**k for k in range(24))
_NETWORK = ConvNetConfig(width=64)
_TRAINING_IMAGES = 200_000
"""A teacher of the probe sees at most this many images (4 epochs of CIFAR-10), and 10 epochs."""

ProbeKind = Literal["teacher", "random"]


def probe_training_work(dataset: Dataset) -> int:
    """Images that training the probe's teacher forwards (a backward pass counts as two)."""
    return 3 * _epochs(dataset) * len(dataset.train)


def _epochs(dataset: Dataset) -> int:
    return max(1, min(10, _TRAINING_IMAGES // len(dataset.train)))


def log_ratio(synthetic: Tensor, real: Tensor, temperature: float) -> Tensor:
    """Critic log sum_y p(y | s) p(y | r) / p(y) for C balanced classes.

    Args:
        synthetic: (I, C) logits.
        real: (J, C) logits.
        temperature: of the posterior softmax(logits / temperature).

    Returns:
        (I, J), at most log C.
    """
    of_synthetic = F.log_softmax(synthetic / temperature, dim=1)
    of_real = F.log_softmax(real / temperature, dim=1)
    joint = torch.logsumexp(of_synthetic.unsqueeze(1) + of_real.unsqueeze(0), dim=2)
    return joint + math.log(synthetic.shape[1])


class Probe:
    """Fixed network, fixed real sample, calibrated critic.

    Args:
        run: the run to read.
        rows: (C, K) int64 training rows of the probe sample; never drawn for updates.
        kind: ``teacher`` (a small network trained on the real images and cached) or ``random`` (random
            weights below a least-squares classifier of the real images).

    Attributes:
        kind: which network the readings come from; reported with every result.
    """

    def __init__(self, run: Run, rows: Tensor, kind: ProbeKind) -> None:
        self.kind = kind
        self._run = run
        self._rows = rows.flatten()
        self._temperature = math.nan

    def prepare(self) -> None:
        """Train or read the network, pass the real sample through it and calibrate the critic."""
        run, labels = self._run, self._run.dataset.train.labels
        per_class = len(self._rows) // len(run.dataset.classes)
        others = run.sampler.draw(2 * per_class, torch.Generator().manual_seed(0))
        first, second = (half.flatten() for half in others.chunk(2, dim=1))
        self._functional, self._params = self._network(others.flatten())
        self._real, _ = self._look(run.real_images(self._rows))
        self._real_labels = labels[self._rows].to(self._real.device)

        (a, _), (b, _) = self._look(run.real_images(first)), self._look(run.real_images(second))
        pairs = Pairs.of(labels[first].to(a.device), labels[second].to(a.device))
        bounds = {t: infonce_bound(log_ratio(a, b, t), pairs).item() for t in _TEMPERATURES}
        self._temperature = max(bounds, key=lambda t: bounds[t])

    def read(self, synthetic: SyntheticSet) -> dict[str, float]:
        """Readings of the synthetic set as it is: ``mi_lower_bound`` and ``cmi``."""
        images, labels = synthetic.finished()
        logits, features = self._look(images)
        pairs = Pairs.of(labels, self._real_labels)
        bound = infonce_bound(log_ratio(logits, self._real, self._temperature), pairs).item()
        cmi = empirical_cmi(features, labels).item()
        return {MI_LOWER_BOUND: capped(bound, synthetic.classes), CMI: max(0.0, cmi)}

    def report(self, readings: Mapping[str, float]) -> ProbeReport:
        """Readings with what they rest on, for the manifest.

        Args:
            readings: the last ones, see :meth:`read`; none where nothing was read.
        """
        return ProbeReport(
            network=self.kind,
            real_images=len(self._rows),
            temperature=self._temperature,
            ceiling_nats=math.log(len(self._run.dataset.classes)),
            **readings,
        )

    def _network(self, rows: Tensor) -> tuple[Functional, Params]:
        run = self._run
        if self.kind == "teacher":
            pool = TeacherPool(TeacherConfig(network=_NETWORK, epochs=_epochs(run.dataset)), run, without=self._rows)
            pool.prepare()
            return pool.functional, pool[0]
        functional = run.network(_NETWORK)
        params = functional.new(torch.Generator(run.compute.device).manual_seed(0))
        features = functional.features(params, run.real_images(rows))
        weight, bias = _least_squares(features, run.dataset.train.labels[rows].to(features.device))
        return functional, {**params, "classifier.weight": weight, "classifier.bias": bias}

    @torch.no_grad()
    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features of images."""
        features = self._functional.features(self._params, images.detach())
        return F.linear(features, self._params["classifier.weight"], self._params["classifier.bias"]), features


def _least_squares(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the ridge classifier of one-hot labels, in its dual form."""
    mean = features.mean(dim=0)
    centred = (features - mean).double()
    targets = F.one_hot(labels).double()
    gram = centred @ centred.T
    ridge = 0.1 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weight = (torch.linalg.solve(gram + ridge, targets - targets.mean(dim=0)).T @ centred).float()
    return weight, targets.mean(dim=0).float() - weight @ mean
