"""The menu: what a user may ask for. Needs pydantic and the standard library, never torch."""

from ddcore.spec.augmentation import AUGMENTATIONS, AUGMENTERS
from ddcore.spec.base import (
    DECODERS,
    METHODS,
    NETWORKS,
    REGULARIZERS,
    DecoderConfig,
    MethodConfig,
    NetworkConfig,
    RegularizerConfig,
    decoder_config,
    method_config,
    network_config,
    regularizer_config,
)
from ddcore.spec.datasets import DATASETS, DatasetFacts
from ddcore.spec.decoders import IdentityConfig, MosaicConfig
from ddcore.spec.errors import Problem, SpecError, nearest
from ddcore.spec.evaluation import DISTILLED, NETWORK_POOLS, Condition, EvaluationConfig, Labels, RobustScore
from ddcore.spec.job import JobSpec, check_dataset_name, parse
from ddcore.spec.methods import (
    CoresetConfig,
    DCConfig,
    DMConfig,
    DSAConfig,
    FeatureCoresetConfig,
    GradientMatchingConfig,
    HerdingConfig,
    KCenterConfig,
    KMeansConfig,
    RandomConfig,
)
from ddcore.spec.networks import AlexNetConfig, ConvNetConfig, LeNetConfig, MLPConfig, ResNet18Config, VGG11Config
from ddcore.spec.presets import Preset, all_presets
from ddcore.spec.protocols import PROTOCOLS, Protocol
from ddcore.spec.regularizers import CMIConfig, MIMConfig, TeacherConfig

__all__ = [
    "AUGMENTATIONS",
    "AUGMENTERS",
    "DATASETS",
    "DECODERS",
    "DISTILLED",
    "METHODS",
    "NETWORKS",
    "NETWORK_POOLS",
    "PROTOCOLS",
    "REGULARIZERS",
    "AlexNetConfig",
    "CMIConfig",
    "Condition",
    "ConvNetConfig",
    "CoresetConfig",
    "DCConfig",
    "DMConfig",
    "DSAConfig",
    "DatasetFacts",
    "DecoderConfig",
    "EvaluationConfig",
    "FeatureCoresetConfig",
    "GradientMatchingConfig",
    "HerdingConfig",
    "IdentityConfig",
    "JobSpec",
    "KCenterConfig",
    "KMeansConfig",
    "Labels",
    "LeNetConfig",
    "MIMConfig",
    "MLPConfig",
    "MethodConfig",
    "MosaicConfig",
    "NetworkConfig",
    "Preset",
    "Problem",
    "Protocol",
    "RandomConfig",
    "RegularizerConfig",
    "ResNet18Config",
    "RobustScore",
    "SpecError",
    "TeacherConfig",
    "VGG11Config",
    "all_presets",
    "check_dataset_name",
    "decoder_config",
    "method_config",
    "nearest",
    "network_config",
    "parse",
    "regularizer_config",
]
