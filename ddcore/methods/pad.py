"""PAD: trajectory matching that leaves out images and layers whose information does not fit the size of the set.

Li et al., "Prioritize Alignment in Dataset Distillation", 2024 (arXiv 2408.03360). Released code:
github.com/NUS-HPC-AI-Lab/PAD, whose distill/PAD_depth.py this follows.
"""

from __future__ import annotations

import torch
from typing_extensions import override

from ddcore.methods.datm import DATM
from ddcore.methods.mtt import trajectory_slope
from ddcore.nets.functional import Params
from ddcore.registry import implements
from ddcore.spec import PADConfig


@implements(PADConfig)
class PAD(DATM):
    """DATM whose loss is that of the deeper layers, along experts that saw easy images first and hard ones last.

    With the L parameters of the network in one row, from the first layer to the last, the first floor(a L) of them have
    no part in the loss (equation 4 of the paper). The cut may lie within a layer.
    """

    config: PADConfig

    @override
    def _compared(self, params: Params) -> Params:
        skipped, found = self._skipped(params), Params()
        for name in self._gradients.names:
            value = params[name].flatten()
            if skipped < len(value):
                found[name] = value[skipped:]
            skipped = max(0, skipped - len(value))
        return found

    @override
    def _slope(self, student: Params, start: Params, target: Params) -> Params:
        """Zero where nothing is compared, and shaped like the parameters."""
        slopes = trajectory_slope(*(self._compared(params) for params in (student, start, target)))
        whole = {}
        for name in self._gradients.names:
            value = student[name]
            whole[name] = torch.zeros_like(value)
            if name in slopes:
                whole[name].view(-1)[value.numel() - len(slopes[name]) :] = slopes[name]
        return whole

    def _skipped(self, params: Params) -> int:
        """Parameters that are not compared."""
        return int(self.config.depth_ratio * sum(params[name].numel() for name in self._gradients.names))
