"""Failures of a machine, as a user is told of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch._inductor.exc import CppCompileError

from ddcore.errors import CompilerError, OutOfMemoryError
from ddcore.machine.failures import UNCOMPILED, named_failures


def none_left() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (lambda: torch.empty(10**15), " (can't allocate memory: you tried to allocate 4000000000000000 bytes)"),
        (lambda: np.empty(10**15), " (Unable to allocate 7.11 PiB for an array with shape (1000000000000000,) and data "
            "type float64)"),
        (none_left, ""),
    ],
)  # fmt: skip
def test_memory_that_is_refused_is_named_with_a_way_out(fails: Callable[[], Any], said: str) -> None:
    with pytest.raises(OutOfMemoryError) as caught, named_failures("lower `ipc`"):
        fails()
    assert str(caught.value) == f"memory ran out{said}; lower `ipc`"
    assert caught.value.retryable


@pytest.mark.parametrize("way_out", [UNCOMPILED, "mend it"])
def test_a_pass_that_cannot_be_compiled_is_named_with_a_way_out(way_out: str) -> None:
    with pytest.raises(CompilerError) as caught, named_failures("lower `ipc`", way_out):
        raise CppCompileError(["g++"], "/var/once.h:3: fatal error: /var/twice.h: No such file or directory")
    assert str(caught.value) == (
        "a network pass could not be compiled (once.h:3: fatal error: twice.h: No such file or directory); " + way_out
    )
    assert caught.value.retryable


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="cannot be multiplied") as caught, named_failures("lower `ipc`"):
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert type(caught.value) is RuntimeError
