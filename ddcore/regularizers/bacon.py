"""BACON beside a method: have the synthetic features likely under the real ones of their class.

Zhou et al., "BACON: Bayesian Optimal Condensation Framework for Dataset Distillation", 2024 (arXiv
2406.01112). The released code puts its terms in the place of a base's distance, which is what the
``distance`` of ``dm`` and ``idm`` and the method ``bacon`` do; here they are added to it.
"""

from __future__ import annotations

from typing import cast

import torch
from typing_extensions import override

from ddcore.errors import ConfigurationError
from ddcore.methods.shared.feature_matching import MatchingStep, feature_distance, require_spread
from ddcore.registry import implements
from ddcore.runtime.context import Run
from ddcore.runtime.objective import Readings, Regularizer, Step
from ddcore.spec import BACONTermConfig
from ddcore.spec.base import features_unmatched


@implements(BACONTermConfig)
class BACONTerm(Regularizer[BACONTermConfig]):
    """The bound of BACON on the features that the method matches, under its network and augmentation."""

    def __init__(self, config: BACONTermConfig, run: Run) -> None:
        super().__init__(config, run)
        method = run.spec.method.matcher
        if not method.matches_features:
            raise ConfigurationError(features_unmatched(config.name, method.name))
        require_spread(config.name, run, getattr(method, "batch_real", 2))
        self._distance = feature_distance("bacon" if config.variant == "released" else "bacon_paper", config.trade_off)

    @override
    def backward(self, step: Step, weight: float) -> Readings:
        """Go group of classes by group, as the method does; real features are those it has computed."""
        matched = cast(MatchingStep, step)  # the constructor has refused methods with other steps
        total = torch.zeros((), device=step.synthetic.device)
        for classes in matched.class_groups():
            part = self._distance(matched, classes, matched.synthetic_features(classes))
            (weight * part).backward()
            total += part.detach()
        return {"loss/bacon": total}
