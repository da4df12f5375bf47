"""What every distillation method can be told, a file for each family."""

from ddcore.spec.methods.cafe import CAFEConfig
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

__all__ = [
    "CAFEConfig",
    "CoresetConfig",
    "DCConfig",
    "DMConfig",
    "DSAConfig",
    "FeatureCoresetConfig",
    "GradientMatchingConfig",
    "HerdingConfig",
    "KCenterConfig",
    "KMeansConfig",
    "RandomConfig",
]
