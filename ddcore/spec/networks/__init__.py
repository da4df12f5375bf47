"""Networks that images can be matched, trained and scored with, a file for each family.

Every file here is imported; catalogs list those below first, in this order.
"""

from ddcore.spec.discovery import import_modules
from ddcore.spec.networks.convnet import ConvNetConfig, Norm

# isort: split
from ddcore.spec.networks.resnet import ResNet18Config

# isort: split
from ddcore.spec.networks.classic import AlexNetConfig, LeNetConfig, MLPConfig, VGG11Config

import_modules(__name__, __path__)

__all__ = ["AlexNetConfig", "ConvNetConfig", "LeNetConfig", "MLPConfig", "Norm", "ResNet18Config", "VGG11Config"]
