"""The compiler of PyTorch: what it needs, where it keeps what it makes, and what it says where it fails."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])

RECOMPILE_LIMIT = 128
"""Compiled variants a function may have: one for each batch shape and each set of tensors with gradients."""


def compile_for_each_shape(function: F) -> F:
    """Compile a function that meets few shapes, each of them many times: one variant for each, none dynamic.

    The framework counts the variants of a piece of code over all that compile it, and fails at a few hundred. So the
    function is compiled from a copy of its code, and a process may run any number of jobs.
    """
    _set_up()
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
    return cast("F", torch.compile(_copied(function), fullgraph=True, dynamic=False))


def missing_compiler(device: torch.device) -> str | None:
    """What keeps ``torch.compile`` from working here, or ``None``."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        return f"there is no C++ compiler (`{compiler}`)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "the C headers of Python are not installed"
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return None


def keep_compiled_code(folder: Path) -> None:
    """Have the compiler keep all that it makes in a folder, so that other processes find it there.

    That holds for the C++ headers too, which it compiles once and needs whenever a pass is compiled. They would lie in
    the system's folder for temporary files. Where that is cleared, as systems do, the next pass could not be compiled.
    """
    from torch._inductor import codecache  # two seconds, which a job without compiled passes does not need

    headers = folder / "precompiled_headers"
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    if str(headers) != codecache._HEADER_DIR:  # there is no public name for it
        codecache._HEADER_DIR, codecache._HEADER_LOCK_DIR = str(headers), str(headers / "locks")
        codecache._precompile_header.cache_clear()  # it remembers where they were


def complaint(error: BaseException) -> str | None:
    """What the compiler said, in a line and without folders, where it could not compile a pass; else ``None``."""
    if "torch._inductor" not in sys.modules:
        return None
    if not isinstance(error, torch._dynamo.exc.BackendCompilerFailed | torch._inductor.exc.CppCompileError):
        return None
    lines = str(error).splitlines()
    said = next((line for line in lines if "error:" in line), lines[0])
    return re.sub(r"\S*/", "", said).strip()


def _set_up() -> None:
    """Have the compiler make nothing that takes longer than it saves, or that this machine cannot make.

    It would compile and load a small program for each kind of vector instructions, in every new cache: 15 s of a core.
    That trial is for C++ compilers that are too old for the newest instructions, and those cannot compile the headers
    of this version of PyTorch either. To compile headers once, it calls ``openssl``.
    """
    torch._inductor.config.cpp.vec_isa_ok = True
    if shutil.which("openssl") is None:
        torch._inductor.config.cpp_cache_precompile_headers = False


def _copied(function: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(function, MethodType):
        return MethodType(_copied(function.__func__), function.__self__)
    if not isinstance(function, FunctionType):
        raise TypeError(f"a function or method can be compiled, not a {type(function).__name__}")
    copy = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
