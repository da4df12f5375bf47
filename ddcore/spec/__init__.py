"""The menu: what a user may ask for. Needs pydantic and the standard library, never torch."""

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
from ddcore.spec.job import AUGMENTATIONS, EvaluationConfig, JobSpec, check_dataset_name, parse
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
from ddcore.spec.regularizers import CMIConfig, IIDConfig, MIMConfig, TeacherConfig

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "DECODERS",
    "METHODS",
    "NETWORKS",
    "REGULARIZERS",
    "AlexNetConfig",
    "CMIConfig",
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
    "IIDConfig",
    "IdentityConfig",
    "JobSpec",
    "KCenterConfig",
    "KMeansConfig",
    "LeNetConfig",
    "MIMConfig",
    "MLPConfig",
    "MethodConfig",
    "MosaicConfig",
    "NetworkConfig",
    "Preset",
    "Problem",
    "RandomConfig",
    "RegularizerConfig",
    "ResNet18Config",
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
