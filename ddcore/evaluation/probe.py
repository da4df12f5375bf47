"""The probe: two readings of the synthetic set that are the same for every method and regulariser.

``mi_lower_bound`` is an InfoNCE bound (nats, at most log C) on the mutual information between a
synthetic image and a real one; ``cmi`` is the empirical I(S; Z | Y) (nats) of softmax features. Both
look through one fixed network. The real side is a fixed class-balanced sample that no update draws and
that the network was not trained on. There is one probe for a dataset, whatever a job asks for otherwise,
and its digest says whether two readings are of the same one.

The critic of the bound is f(s, r) = log sum_y p(y | s) p(y | r) / p(y), with p(y | .) the network's
posterior: the log density ratio of the pair, if the posterior were exact. Any critic that is
independent of the sample it is evaluated on gives a valid bound; a sharp one gives a sharp bound. The
temperature of the posterior maximises the bound between two other real samples, once, before the run, which
the network has not seen either: on images that it has, it is surer than it may be. Where classes are too
small for that the temperature is 1.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from ddcore.evaluation.probe_network import other_rows, seen_by_probes, trained, untrained
from ddcore.formulas.information import Pairs, capped, empirical_cmi, infonce_bound
from ddcore.nets.functional import Params
from ddcore.runtime.context import Run
from ddcore.spec.cost import ProbeKind
from ddcore.spec.readings import CMI, MI_LOWER_BOUND
from ddcore.spec.results import ProbeReport
from ddcore.spec.work import DataSizes

_TEMPERATURES = tuple(0.1 * 1.25**k for k in range(24))


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


class Readable(Protocol):
    """A set whose images can be read as they are."""

    @property
    def classes(self) -> int:
        """How many there are."""
        ...

    def finished(self) -> tuple[Tensor, Tensor]:
        """Images (N, channels, H, W) in normalised units and labels (N,)."""
        ...


class Probe:
    """Fixed network, fixed real sample, calibrated critic.

    Args:
        run: the run to read.
        rows: (C, K) int64 training rows of the probe sample; never drawn for updates.
        kind: ``teacher`` (a small network trained on the real images and cached) or ``random`` (random
            weights below a least-squares classifier of the real images).

    Attributes:
        kind: which network the readings come from; reported with every result.
        digest: names the probe, once it is prepared, see :func:`digest_of`.
    """

    def __init__(self, run: Run, rows: Tensor, kind: ProbeKind) -> None:
        self.kind = kind
        self.digest: str | None = None
        self._job = run
        self._run = seen_by_probes(run)
        self._rows = rows.flatten()
        self._temperature = math.nan

    def prepare(self) -> None:
        """Train or read the network, pass the real sample through it and calibrate the critic."""
        run, labels = self._run, self._run.dataset.train.labels
        others = other_rows(run, 2 * len(self._rows) // len(run.dataset.classes))
        if self.kind == "teacher":
            sizes = DataSizes(run.dataset.shape, run.dataset.class_counts, len(run.dataset.test))
            others = [rows[:count] for rows, count in zip(others, sizes.calibrating, strict=True)]
            self._functional, self._params = trained(run, self._rows, others)
        else:
            self._functional, self._params = untrained(run, torch.cat(others))
        self._real, _ = self._look(run.real_images(self._rows))
        self._real_labels = labels[self._rows].to(self._real.device)
        self._temperature = self._calibrated(others)
        self.digest = digest_of(run.dataset.digest, self._rows, self._params, self._temperature)

    def read(self, synthetic: Readable) -> dict[str, float]:
        """Readings of the synthetic set as it is: ``mi_lower_bound`` and ``cmi``."""
        images, labels = synthetic.finished()
        logits, features = self._look(self._as_seen(images))
        pairs = Pairs.of(labels, self._real_labels)
        bound = infonce_bound(log_ratio(logits, self._real, self._temperature), pairs).item()
        cmi = empirical_cmi(features, labels).item()
        return {MI_LOWER_BOUND: capped(bound, synthetic.classes), CMI: max(0.0, cmi)}

    def features(self, images: Tensor) -> Tensor:
        """What the network makes of images, (N, F) float32, where it takes them apart: the input of its classifier.

        Args:
            images: (N, C, H, W) float32 in the normalised units of the job.
        """
        return self._look(self._as_seen(images))[1]

    def report(self, readings: Mapping[str, float]) -> ProbeReport:
        """Readings with what they rest on, for the manifest.

        Args:
            readings: the last ones, see :meth:`read`; none where nothing was read.
        """
        return ProbeReport(
            digest=self.digest,
            network=self.kind,
            real_images=len(self._rows),
            temperature=self._temperature,
            ceiling_nats=math.log(len(self._run.dataset.classes)),
            **readings,
        )

    def _as_seen(self, images: Tensor) -> Tensor:
        """Images of the job in the units of the probe, which knows no whitening."""
        if self._job.dataset.whitening is None:
            return images
        return self._run.dataset.normalize(self._job.dataset.denormalize(images))

    def _calibrated(self, others: Sequence[Tensor]) -> float:
        """The temperature at which the bound between the halves of other real samples is largest.

        A class with a single row has no halves and takes no part. Without two classes that have, the temperature is
        1: the network's own posterior bounds as well, only less sharply.

        Args:
            others: rows of each class, none of them of the probe sample.
        """
        halves = [rows.chunk(2) for rows in others if len(rows) > 1]
        if len(halves) < 2:
            self._run.callback.on_log(
                "info",
                "the temperature of the probe is 1, not calibrated: that takes two classes of 5 or more training "
                "images. Its `mi_lower_bound` is still a bound, but may be a loose one",
            )
            return 1.0
        run, labels = self._run, self._run.dataset.train.labels
        first, second = (torch.cat(half) for half in zip(*halves, strict=True))
        (a, _), (b, _) = self._look(run.real_images(first)), self._look(run.real_images(second))
        pairs = Pairs.of(labels[first].to(a.device), labels[second].to(a.device))
        bounds = {t: infonce_bound(log_ratio(a, b, t), pairs).item() for t in _TEMPERATURES}
        return max(bounds, key=lambda t: bounds[t])

    @torch.no_grad()
    def _look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features of images."""
        features = self._functional.features(self._params, images.detach())
        return F.linear(features, self._params["classifier.weight"], self._params["classifier.bias"]), features


def digest_of(dataset: str, rows: Tensor, params: Params, temperature: float) -> str:
    """Name of a probe by all that its readings follow from, such as ``pr_0123456789ab``.

    Two probes of one name have the same weights, bit for bit. The weights follow from the dataset and a fixed recipe,
    but another kind of machine rounds otherwise: its probe has another name.

    Args:
        dataset: digest of its images and labels.
        rows: int64 training rows of the real sample.
        params: of the network.
        temperature: of the critic.
    """
    weights = save({name: value.detach().cpu().contiguous() for name, value in sorted(params.items())})
    facts = [dataset, rows.tolist(), hashlib.sha256(weights).hexdigest(), temperature]
    return f"pr_{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]}"
