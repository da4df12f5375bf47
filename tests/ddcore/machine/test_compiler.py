"""What the compiler of PyTorch needs, where it keeps what it makes, and what it says where it fails."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path

import pytest
import torch

from ddcore.machine.compiler import compile_for_each_shape, complaint, missing_compiler
from tests.ddcore.compiler import needs_compiler

CPU = torch.device("cpu")


class Scaled:
    """A function and a method, each made anew for each object from one piece of code."""

    def __init__(self, factor: float) -> None:
        def scale(x: torch.Tensor) -> torch.Tensor:
            return x * factor

        self.scale = scale

    def shift(self, x: torch.Tensor, *, by: float = 1.0) -> torch.Tensor:
        return self.scale(x) + by


@needs_compiler
def test_a_process_may_compile_the_same_code_for_any_number_of_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The front end of the compiler counts the variants, so that none of its sixteen graphs has to become C++."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    x = torch.arange(3.0)
    with torch._dynamo.config.patch(accumulated_recompile_limit=2):
        for job in range(4):
            scaled = Scaled(job)
            scale = compile_for_each_shape(scaled.scale)
            shift = compile_for_each_shape(scaled.shift)
            for images in (2, 3):
                torch.testing.assert_close(scale(x[:images]), x[:images] * job)
                torch.testing.assert_close(shift(x[:images]), x[:images] * job + 1)


def test_only_functions_and_methods_are_compiled() -> None:
    with pytest.raises(TypeError, match="not a partial"):
        compile_for_each_shape(partial(torch.mul, 2))


def test_what_is_compiled_begins_without_trials_of_vector_instructions() -> None:
    with torch._inductor.config.patch({"cpp.vec_isa_ok": None}):
        compile_for_each_shape(Scaled(2).scale)
        assert torch._inductor.config.cpp.vec_isa_ok is True


def test_a_missing_compiler_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert missing_compiler(CPU) == "there is no C++ compiler (`no-such-compiler`)"
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert missing_compiler(CPU) == "the C headers of Python are not installed"
    (tmp_path / "Python.h").touch()
    assert missing_compiler(CPU) is None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert missing_compiler(torch.device("cuda")) == "triton is not installed"


@pytest.mark.parametrize("openssl", ["/usr/bin/openssl", None])
def test_headers_are_compiled_once_where_that_can_be_done(openssl: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: openssl)
    with torch._inductor.config.patch({"cpp_cache_precompile_headers": True}):
        compile_for_each_shape(Scaled(2).scale)
        assert torch._inductor.config.cpp_cache_precompile_headers is (openssl is not None)


CLEARED = """
import shutil, sys, torch
from pathlib import Path
from ddcore.machine.compiler import compile_for_each_shape, complaint, keep_compiled_code

kept = Path(sys.argv[1])
keep_compiled_code(kept)
x = torch.arange(3.0, requires_grad=True)
compile_for_each_shape(lambda x: x.sin() * 2)(x.detach())
assert list(kept.glob("precompiled_headers/*.gch"))

twice = compile_for_each_shape(lambda x: x.cos() * 3)(x).sum()
shutil.rmtree(kept / "precompiled_headers")
for further in (twice.backward, lambda: compile_for_each_shape(lambda x: x.exp() + 1)(x.detach())):
    try:
        further()
    except RuntimeError as error:
        print(complaint(error))
keep_compiled_code(kept / "another")
compile_for_each_shape(lambda x: x.tan() - 1)(x.detach())
"""


@needs_compiler
@pytest.mark.slow
def test_all_that_is_compiled_lies_in_one_folder_and_a_part_that_is_gone_is_named(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", CLEARED, str(tmp_path / "kept")]
    ran = subprocess.run(command, env={**os.environ, "TMPDIR": str(temporary)}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
    assert len(ran.stdout.splitlines()) == 2
    for line in ran.stdout.splitlines():
        assert line.startswith("<command-line>: fatal error: ")
        assert line.endswith(".h: No such file or directory")
        assert "/" not in line


def test_other_errors_are_not_the_compilers() -> None:
    assert complaint(RuntimeError("mat1 and mat2 shapes cannot be multiplied: error: 3")) is None
