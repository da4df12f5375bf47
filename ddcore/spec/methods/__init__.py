"""What every distillation method can be told, a file for each family.

Every file here is imported; catalogs list those below first, in this order.
"""

from ddcore.spec.discovery import import_modules
from ddcore.spec.methods.bptt import BPTTConfig
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
from ddcore.spec.methods.dm import DMConfig, FeatureMatchingConfig
from ddcore.spec.methods.idc import DREAMConfig, IDCConfig
from ddcore.spec.methods.idm import BACONConfig, IDMConfig, QueueMatchingConfig
from ddcore.spec.methods.linear_gradient import LinearGradientConfig
from ddcore.spec.methods.ncfm import NCFMConfig, PairsConfig
from ddcore.spec.methods.rat_bptt import RatBPTTConfig
from ddcore.spec.methods.rded import CIMConfig, RDEDConfig
from ddcore.spec.methods.sre2l import FADRMConfig, RecoveringConfig, SRe2LConfig
from ddcore.spec.methods.staged import PDDConfig, SeqMatchConfig, StagedConfig
from ddcore.spec.methods.trajectory import ExpertsConfig, MTTConfig, TESLAConfig, TrajectoryConfig
from ddcore.spec.methods.trajectory_datm import DATMConfig
from ddcore.spec.methods.trajectory_pad import PADConfig

import_modules(__name__, __path__)

__all__ = [
    "BACONConfig",
    "BPTTConfig",
    "CAFEConfig",
    "CIMConfig",
    "CoresetConfig",
    "DATMConfig",
    "DCConfig",
    "DMConfig",
    "DREAMConfig",
    "DSAConfig",
    "ExpertsConfig",
    "FADRMConfig",
    "FeatureCoresetConfig",
    "FeatureMatchingConfig",
    "GradientMatchingConfig",
    "HerdingConfig",
    "IDCConfig",
    "IDMConfig",
    "KCenterConfig",
    "KMeansConfig",
    "LinearGradientConfig",
    "MTTConfig",
    "NCFMConfig",
    "PADConfig",
    "PDDConfig",
    "PairsConfig",
    "QueueMatchingConfig",
    "RDEDConfig",
    "RandomConfig",
    "RatBPTTConfig",
    "RecoveringConfig",
    "SRe2LConfig",
    "SeqMatchConfig",
    "StagedConfig",
    "TESLAConfig",
    "TrajectoryConfig",
]
