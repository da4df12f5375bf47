"""Kernels in C++ are compiled once for all processes, or done without."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ddcore.machine import native
from ddcore.machine.native import keep_native_libraries, native_library
from tests.ddcore.compiler import needs_compiler

ANSWER = 'extern "C" int answer() { return 42; }'


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(native, "_kept_in", None)
    path = tmp_path / "answer.cpp"
    path.write_text(ANSWER)
    return path


def again(source: Path) -> int:
    """What a process that has not asked before is given."""
    library = native_library.__wrapped__(source)
    assert library is not None
    return int(library.answer())


@needs_compiler
def test_what_is_compiled_is_kept(source: Path, tmp_path: Path) -> None:
    keep_native_libraries(tmp_path / "cache")
    assert again(source) == 42
    (kept,) = (tmp_path / "cache").iterdir()
    before = kept.stat().st_mtime_ns
    assert again(source) == 42
    assert kept.stat().st_mtime_ns == before
    source.write_text(ANSWER.replace("42", "43"))
    assert again(source) == 43
    assert len(list(kept.parent.iterdir())) == 2


@needs_compiler
def test_without_a_cache_nothing_is_left(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    assert again(source) == 42
    assert list((tmp_path / "own").iterdir()) == []


@needs_compiler
def test_code_that_is_not_compiled_is_told(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    source.write_text("no code")
    with caplog.at_level(logging.WARNING):
        assert native_library.__wrapped__(source) is None
    assert "passes are slower, since answer.cpp was not compiled" in caplog.text


def test_so_is_a_missing_compiler(
    source: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with caplog.at_level(logging.WARNING):
        assert native_library.__wrapped__(source) is None
    assert "no-such-compiler" in caplog.text
