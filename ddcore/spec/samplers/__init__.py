"""Which real images a matching method compares with, one way a file.

Every file here is imported; catalogs list those below first, in this order.
"""

from ddcore.spec.discovery import import_modules
from ddcore.spec.samplers.random import RandomSamplerConfig
from ddcore.spec.samplers.representative import RepresentativeSamplerConfig

import_modules(__name__, __path__)

__all__ = ["RandomSamplerConfig", "RepresentativeSamplerConfig"]
