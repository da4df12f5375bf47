"""Terms that pull on the synthetic images beside the method, and how hard.

The strength is given in one of two ways. ``weight`` is absolute, the lambda of the papers.
``relative`` is the size of the term's gradient on the images against the method's: it is measured
over the first ``calibration_steps`` steps, then frozen into an absolute weight that the job reports
(a scale that keeps following the gradients runs away as the term succeeds).

Every file here is imported; catalogs list those below first, in this order.
"""

from ddcore.spec.discovery import import_modules
from ddcore.spec.regularizers.mim import MIMConfig

# isort: split
from ddcore.spec.regularizers.cmi import CMIConfig

# isort: split
from ddcore.spec.regularizers.iid import IIDConfig

# isort: split
from ddcore.spec.regularizers.bacon import BACONTermConfig

import_modules(__name__, __path__)

__all__ = ["BACONTermConfig", "CMIConfig", "IIDConfig", "MIMConfig"]
