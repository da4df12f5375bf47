"""The probe: two readings of the synthetic set that are the same for every method and regulariser.

``mi_lower_bound`` is an InfoNCE bound (nats, at most log C) on the mutual information between a
synthetic image and a real one, ``cmi`` the empirical I(S; Z | Y) (nats), both in the feature space of
one fixed network. The real side is a fixed class-balanced sample that no update ever draws. Neither
depends on the seed or on the regularisers of the job, so that jobs on one dataset can be compared.

The critic is the scaled cosine of centred features. Its temperature maximises the bound between the
probe sample and another real sample, before the run starts, and is then frozen; any fixed critic gives
a valid bound, this one gives a sharp one.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.data.images import Dataset
from ddcore.information import Pairs, capped, empirical_cmi, infonce_bound
from ddcore.nets.functional import Functional, Params
from ddcore.run import Run
from ddcore.spec import ConvNetConfig, TeacherConfig
from ddcore.synthetic import SyntheticSet

_TEMPERATURES = tuple(0.02 * 1.25**k for k in range(24))
_TRAINING_IMAGES = 200_000
"""A teacher of the probe sees at most this many images (4 epochs of CIFAR-10), and 10 epochs."""
_NETWORK = ConvNetConfig(width=64)

ProbeKind = Literal["teacher", "random"]


def probe_training_work(dataset: Dataset) -> int:
    """Images that training the probe's teacher forwards (a backward pass counts as two)."""
    return 3 * _epochs(dataset) * len(dataset.train)


def _epochs(dataset: Dataset) -> int:
    return max(1, min(10, _TRAINING_IMAGES // len(dataset.train)))


class Probe:
    """Fixed network, fixed real sample, calibrated critic.

    Args:
        run: the run to read.
        rows: (C, K) int64 training rows of the probe sample; never drawn for updates.
        kind: ``teacher`` (a small network trained on the real images and cached) or ``random``.

    Attributes:
        kind: which network the readings come from; reported with every result.
    """

    def __init__(self, run: Run, rows: Tensor, kind: ProbeKind) -> None:
        self.kind = kind
        self._run = run
        self._rows = rows.flatten()
        self._temperature = math.nan

    def prepare(self) -> None:
        """Train or read the network, embed the real sample and calibrate the critic."""
        run = self._run
        self._functional, self._params = self._network()
        real = self._features(run.real_images(self._rows))
        labels = run.dataset.train.labels
        self._real_labels = labels[self._rows].to(real.device)
        self._centre = real.mean(dim=0)
        self._real = F.normalize(real - self._centre, dim=1)
        per_class = len(self._rows) // len(run.dataset.classes)
        other = run.sampler.draw(per_class, torch.Generator().manual_seed(0)).flatten()
        pairs = Pairs.of(labels[other].to(real.device), self._real_labels)
        similarity = self._similarity(self._features(run.real_images(other)))
        bounds = {t: infonce_bound(similarity / t, pairs).item() for t in _TEMPERATURES}
        self._temperature = max(bounds, key=lambda t: bounds[t])

    def read(self, synthetic: SyntheticSet) -> dict[str, float]:
        """Readings of the synthetic set as it is: ``mi_lower_bound`` and ``cmi``."""
        features = self._features(synthetic.images)
        pairs = Pairs.of(synthetic.labels, self._real_labels)
        bound = infonce_bound(self._similarity(features) / self._temperature, pairs).item()
        cmi = empirical_cmi(features, synthetic.labels).item()
        return {"mi_lower_bound": capped(bound, synthetic.classes), "cmi": max(0.0, cmi)}

    def describe(self) -> dict[str, object]:
        """What the readings rest on, for the manifest."""
        return {
            "network": self.kind,
            "real_images": len(self._rows),
            "temperature": self._temperature,
            "ceiling_nats": math.log(len(self._run.dataset.classes)),
        }

    def _network(self) -> tuple[Functional, Params]:
        run = self._run
        if self.kind == "teacher":
            pool = run.teachers(TeacherConfig(network=_NETWORK, epochs=_epochs(run.dataset)))
            pool.prepare()
            return pool.functional, pool.params[0]
        functional = run.network(_NETWORK)
        return functional, functional.new(torch.Generator(run.compute.device).manual_seed(0))

    @torch.no_grad()
    def _features(self, images: Tensor) -> Tensor:
        return self._functional.features(self._params, images.detach())

    def _similarity(self, features: Tensor) -> Tensor:
        return F.normalize(features - self._centre, dim=1) @ self._real.T
