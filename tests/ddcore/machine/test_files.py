"""Files that are written whole, and first come, first served where that is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddcore.machine.files import write_atomically


def test_the_last_writer_wins_unless_the_first_one_shall(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert write_atomically(path, b"1", replace=False)
    assert not write_atomically(path, b"2", replace=False)
    assert path.read_bytes() == b"1"
    assert write_atomically(path, b"3")
    assert path.read_bytes() == b"3"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_file_system_without_hard_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr("os.link", refused)
    assert write_atomically(tmp_path / "file", b"1", replace=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
