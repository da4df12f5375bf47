"""Coresets: real images kept by a rule, the floor that every distillation result must beat.

Cui et al., "DC-BENCH: Dataset Condensation Benchmark", NeurIPS 2022 (arXiv 2207.09639).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

from torch import Tensor
from typing_extensions import override

from ddcore.formulas import selection
from ddcore.methods.shared.taught import Taught
from ddcore.registry import implements
from ddcore.runtime.objective import Producer
from ddcore.spec import CoresetConfig, FeatureCoresetConfig, HerdingConfig, KCenterConfig, KMeansConfig, RandomConfig
from ddcore.synthetic.initial import real_rows
from ddcore.synthetic.set import SyntheticSet

C = TypeVar("C", bound=CoresetConfig)
F = TypeVar("F", bound=FeatureCoresetConfig)


class Coreset(Producer[C]):
    """Real images as they are: a rule says which, and no step is taken."""

    @abstractmethod
    def rows(self) -> Tensor:
        """Training rows to keep, (C * ipc,) int64, class-major and distinct."""

    @override
    def start(self) -> SyntheticSet:
        return SyntheticSet(self.run.real_images(self.rows()), self.run.spec.ipc, lr=0.0, momentum=0.0)


@implements(RandomConfig)
class RandomSubset(Coreset[RandomConfig]):
    """``ipc`` real images of each class, drawn uniformly without replacement."""

    @override
    def rows(self) -> Tensor:
        return real_rows(self.run.dataset.train, self.run.spec.ipc, self.run.random.host_stream("init"))


class FeatureCoreset(Taught[F], Coreset[F]):
    """A rule on the features (the classifier's inputs) that one network, trained on the real images, gives a class."""

    @abstractmethod
    def select(self, features: Tensor) -> Tensor:
        """``ipc`` distinct rows, (ipc,) int64, of the features (N, F) of one class."""

    @override
    def rows(self) -> Tensor:
        return self._teacher.select(self.select)


@implements(HerdingConfig)
class Herding(FeatureCoreset[HerdingConfig]):
    """Images whose running mean feature stays closest to the mean of their class."""

    @override
    def select(self, features: Tensor) -> Tensor:
        return selection.herding(features, self.run.spec.ipc)


@implements(KCenterConfig)
class KCenter(FeatureCoreset[KCenterConfig]):
    """Images that leave none of their class far away."""

    @override
    def select(self, features: Tensor) -> Tensor:
        return selection.k_center(features, self.run.spec.ipc)


@implements(KMeansConfig)
class KMeans(FeatureCoreset[KMeansConfig]):
    """Images nearest to the centroids of their class's clusters."""

    @override
    def select(self, features: Tensor) -> Tensor:
        return selection.k_means(features, self.run.spec.ipc, self.run.random.host_stream("method/clusters"))
