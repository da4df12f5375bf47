"""DREAM: IDC with real batches that represent their class evenly, and a start that does.

Liu et al., "DREAM: Efficient Dataset Distillation by Representative Matching", ICCV 2023 (arXiv 2302.14416). Both
of its ideas serve other methods too, so they live elsewhere: the batches in :mod:`ddcore.runtime.real_batches`, the
start in :mod:`ddcore.synthetic.initial`. The configuration asks for both.
"""

from __future__ import annotations

from ddcore.methods.idc import AlongRealTraining
from ddcore.registry import implements
from ddcore.spec import DREAMConfig


@implements(DREAMConfig)
class DREAM(AlongRealTraining[DREAMConfig]):
    """Gradient matching of decoded images, with representative real batches."""
