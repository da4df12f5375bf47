"""IID: gather the images of a class, and let the channels of their features vary together as those of real ones do.

Deng, Li, Ding, Wang, Zhang, Huang, Huo & Gao, "Exploiting Inter-sample and Inter-feature Relations in Dataset
Distillation", CVPR 2024 (arXiv 2404.00563), and its code, github.com/VincenDen/IID.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.methods.shared.feature_matching import MatchingStep
from ddcore.pretrained.teachers import DrawnTeacher
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Readings, Regularizer, Step
from ddcore.spec import IIDConfig
from ddcore.spec.base import features_unmatched


def covariances(maps: Tensor) -> Tensor:
    """How the channels of feature maps vary together: mean_i Z_i Z_i^T, with Z centred over the images.

    Args:
        maps: (..., N, K, P), N images of K channels at P positions.

    Returns:
        (..., K, K); summed over the positions, as released.
    """
    centred = maps - maps.mean(dim=-3, keepdim=True)
    joined = centred.movedim(-3, -2).flatten(-2)
    return joined @ joined.mT / maps.shape[-3]


def covariance_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared Frobenius distance of covariances (..., K, K), summed over whatever is batched: a scalar."""
    return (real - synthetic).square().sum()


def scatter(features: Tensor) -> Tensor:
    """Squared distances of features (..., N, M) from their mean over N, summed over everything: a scalar.

    The slope in the mean is zero (the distances from it cancel), so it is a constant.
    """
    return (features - features.mean(dim=-2, keepdim=True).detach()).square().sum()


@implements(IIDConfig)
class IID(Regularizer[IIDConfig]):
    """Covariance matching under the method's network, and class centralisation under a teacher of a pool.

    Both see what the method sees: its real batch, its augmentations, and the decoded images.
    """

    def __init__(self, config: IIDConfig, run: Run) -> None:
        super().__init__(config, run)
        if config.covariance:
            self._channels = _channels(run)
        self._teacher = DrawnTeacher(config.teacher, run, "iid/teacher") if config.centralization else None

    @override
    def prepare(self) -> None:
        if self._teacher:
            self._teacher.prepare()

    @override
    def backward(self, step: Step, weight: float) -> Readings:
        if not isinstance(step, MatchingStep):
            raise ConfigurationError(features_unmatched(self.config.name, self.run.spec.method.matcher.name))
        parts = {}
        if self.config.covariance:
            parts["covariance"] = self._match(step, weight * self.config.covariance)
        if self._teacher:
            parts["centralization"] = self._gather(step, self._teacher, weight * self.config.centralization)
        total = sum(getattr(self.config, name) * part for name, part in parts.items())
        return {"loss/iid": torch.as_tensor(total), **{f"iid/{name}": part for name, part in parts.items()}}

    def _match(self, step: MatchingStep, weight: float) -> Tensor:
        """Add the slope of sum_c ||Cov(R_c) - Cov(S_c)||^2; the sum, a scalar."""
        total = torch.zeros((), device=step.synthetic.device)
        for classes in step.class_groups():
            real = torch.stack([covariances(self._maps(features)) for features in step.real_features_of(classes)])
            part = covariance_distance(real, covariances(self._maps(step.synthetic_features(classes))))
            (weight * part).backward()
            total += part.detach()
        return total

    def _gather(self, step: MatchingStep, teacher: DrawnTeacher, weight: float) -> Tensor:
        """Add the slope of sum_c sum_i ||e_i - mean_c||^2; the sum, a scalar."""
        params = teacher.params(step)
        total = torch.zeros((), device=step.synthetic.device)
        for classes in step.synthetic.class_groups(teacher.functional.graph_images):
            features = teacher.functional.features(params, step.synthetic_images(classes), training=False)
            part = scatter(features.unflatten(0, (len(classes), -1)))
            (weight * part).backward()
            total += part.detach()
        return total

    def _maps(self, features: Tensor) -> Tensor:
        """Features (..., K * P) as maps (..., K, P)."""
        maps: Tensor = features.unflatten(-1, (self._channels, -1))
        return maps

    @override
    def state(self) -> dict[str, Tensor]:
        return self._teacher.state() if self._teacher else {}

    @override
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if self._teacher:
            self._teacher.load_state(state)


def _channels(run: Run) -> int:
    """K, the channels of the last feature map of the method's network.

    Raises:
        ConfigurationError: its features are no map of several positions, or depend on the other images of a batch.
    """
    functional, name = run.functional, run.spec.network.name
    way_out = "use an instance-normalised `convnet` with larger last maps, or `covariance`: 0"
    if not functional.per_sample:
        raise ConfigurationError(
            f"`iid` compares covariances class by class, but batch normalisation in `{name}` lets the classes of a "
            f"batch influence each other; {way_out}"
        )
    shape = functional.feature_map
    if shape is None or shape[1] * shape[2] < 2:
        size = "no map" if shape is None else f"a map of {shape[1]} x {shape[2]} positions"
        raise ConfigurationError(
            f"`iid` compares covariances over the positions of the last feature map, but the features of `{name}` on "
            f"{run.dataset.shape[1]} x {run.dataset.shape[2]} images are {size}; {way_out}"
        )
    return shape[0]
