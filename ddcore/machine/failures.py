"""What a machine lacks where a run fails on it, and what a user can do about that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ddcore.errors import CompilerError, OutOfMemoryError
from ddcore.machine.compiler import complaint

_REFUSED = re.compile(r"DefaultCPUAllocator: (.*? bytes)")
"""What PyTorch says where main memory runs out: an error of no class of its own."""

UNCOMPILED = "`compile: off` does without a compiler, and takes longer"
"""What can be done about a compiler where the specification can be changed."""


@contextmanager
def named_failures(memory: str, compiler: str = UNCOMPILED) -> Iterator[None]:
    """Name it where memory runs out, or where the compiler fails; other errors stay as they are.

    Args:
        memory: what a user can do about the first, such as "lower `ipc`".
        compiler: what can be done about the second.

    Raises:
        OutOfMemoryError: the device or the machine has no memory left.
        CompilerError: a network pass could not be compiled.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if (wanted := _memory_wanted(error)) is not None:
            raise OutOfMemoryError(f"memory ran out{wanted}; {memory}") from error
        if (said := complaint(error)) is not None:
            raise CompilerError(f"a network pass could not be compiled ({said}); {compiler}") from error
        raise


def _memory_wanted(error: MemoryError | RuntimeError) -> str | None:
    """What was said of the memory that there was not, in brackets; ``None`` where that is not the matter."""
    said = str(error)
    if not isinstance(error, MemoryError | torch.OutOfMemoryError):
        refused = _REFUSED.search(said)
        if refused is None:
            return None
        said = refused[1]
    return f" ({said})" if said else ""
