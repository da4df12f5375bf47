from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app.core.logging import configure
from app.core.security import make_key
from app.core.settings import Settings


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is written to standard error once JSON logging is configured."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure(Settings(home=tmp_path, log_format="json"))
    yield written
    root.handlers = handlers
    root.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False


def records(written: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_user_text_cannot_make_lines(lines: io.StringIO) -> None:
    structlog.get_logger("x").info("request", path='/a\n{"event": "forged"}')
    (line,) = records(lines)
    assert (line["event"], line["path"], line["level"]) == ("request", '/a\n{"event": "forged"}', "info")


def test_keys_are_taken_out(lines: io.StringIO) -> None:
    key = make_key("local").text
    structlog.get_logger("x").warning("odd", header=f"Bearer {key}")
    logging.getLogger("library").warning("got %s", key)
    assert key not in lines.getvalue()
    assert [line["level"] for line in records(lines)] == ["warning", "warning"]


def test_library_lines_have_the_same_form(lines: io.StringIO) -> None:
    logging.getLogger("sqlalchemy.pool").error("lost %d", 3)
    (line,) = records(lines)
    assert (line["event"], line["logger"], line["level"]) == ("lost 3", "sqlalchemy.pool", "error")
    assert str(line["timestamp"]).endswith("Z")


def test_errors_show_no_local_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    configure(Settings(home=tmp_path, log_format="console"))
    try:
        password = "hunter" + "2"
        try:
            raise RuntimeError(len(password))
        except RuntimeError:
            structlog.get_logger("x").exception("failed")
    finally:
        root.handlers = handlers
        root.setLevel(level)
    assert "RuntimeError" in written.getvalue()
    assert "hunter2" not in written.getvalue()


def test_quiet_below_the_level(lines: io.StringIO) -> None:
    structlog.get_logger("x").debug("detail")
    assert lines.getvalue() == ""
