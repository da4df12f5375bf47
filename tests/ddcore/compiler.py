"""What a test that compiles is marked with."""

from __future__ import annotations

import pytest
import torch

from ddcore.machine.compiler import missing_compiler

_OBSTACLE = missing_compiler(torch.device("cpu"))
needs_compiler = pytest.mark.skipif(_OBSTACLE is not None, reason=str(_OBSTACLE))
compiles = pytest.mark.filterwarnings("default:The .grad attribute of a Tensor")
"""The compiler looks for the gradient of inputs that are not leaves. It hides the warning that this raises, but cannot
where warnings are errors."""
