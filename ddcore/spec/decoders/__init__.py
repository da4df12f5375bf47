"""How stored images become the images that networks train on, one way a file.

Every file here is imported; catalogs list those below first, in this order.
"""

from ddcore.spec.decoders.identity import IdentityConfig
from ddcore.spec.discovery import import_modules

# isort: split
from ddcore.spec.decoders.mosaic import MosaicConfig

# isort: split
from ddcore.spec.decoders.addressed import AddressedConfig

import_modules(__name__, __path__)

__all__ = ["AddressedConfig", "IdentityConfig", "MosaicConfig"]
