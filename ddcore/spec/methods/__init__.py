"""What every distillation method can be told, a file for each family."""

from ddcore.spec.methods.bptt import BPTTConfig
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
from ddcore.spec.methods.trajectory import ExpertsConfig, MTTConfig, TESLAConfig, TrajectoryConfig

__all__ = [
    "BPTTConfig",
    "CoresetConfig",
    "DCConfig",
    "DMConfig",
    "DSAConfig",
    "ExpertsConfig",
    "FeatureCoresetConfig",
    "GradientMatchingConfig",
    "HerdingConfig",
    "KCenterConfig",
    "KMeansConfig",
    "MTTConfig",
    "RandomConfig",
    "TESLAConfig",
    "TrajectoryConfig",
]
