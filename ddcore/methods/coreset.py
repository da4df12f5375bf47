"""Coresets: real images kept by a rule, the floor that every distillation result must beat."""

from __future__ import annotations

from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.objective import Method, Readings, Step
from ddcore.registry import implements
from ddcore.run import Run
from ddcore.spec import RandomConfig
from ddcore.synthetic import SyntheticSet


@implements(RandomConfig)
class RandomSubset(Method[RandomConfig, Step]):
    """``ipc`` real images of each class, drawn uniformly without replacement."""

    def __init__(self, config: RandomConfig, run: Run) -> None:
        super().__init__(config, run)
        if run.spec.init != "real":
            raise ConfigurationError("`random` keeps real images, so `init` must be 'real'")

    @override
    def start(self) -> SyntheticSet:
        return self.run.synthetic_set(lr=0.0, momentum=0.0)

    @override
    def draw(self, index: int, synthetic: SyntheticSet) -> Step:
        raise ConfigurationError("`random` keeps images as they are; set `method.iterations` to 0")

    @override
    def backward(self, step: Step) -> Readings:
        raise ConfigurationError("`random` keeps images as they are; set `method.iterations` to 0")
