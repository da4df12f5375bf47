"""What every distillation method can be told, a file for each family."""

from ddcore.spec.methods.coreset import (
    CoresetConfig,
    FeatureCoresetConfig,
    HerdingConfig,
    KCenterConfig,
    KMeansConfig,
    RandomConfig,
)
from ddcore.spec.methods.dc import DCConfig, DSAConfig, GradientMatchingConfig
from ddcore.spec.methods.dm import DMConfig
from ddcore.spec.methods.idc import DREAMConfig, IDCConfig

__all__ = [
    "CoresetConfig",
    "DCConfig",
    "DMConfig",
    "DREAMConfig",
    "DSAConfig",
    "FeatureCoresetConfig",
    "GradientMatchingConfig",
    "HerdingConfig",
    "IDCConfig",
    "KCenterConfig",
    "KMeansConfig",
    "RandomConfig",
]
