"""What an attempt publishes beside its bundle."""

from __future__ import annotations

from pathlib import Path

from worker import results
from worker.run_folder import RunFolder


def test_an_audit_is_published_where_one_was_made(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "job_1", 3)
    assert results.audit_files(folder) == []
    beside = folder.out / "audit"
    beside.mkdir(parents=True)
    for name in ("audit.json", "neighbours.png", "nearest.png"):
        (beside / name).write_bytes(b"x")
    found = [(file.kind, file.path.name, file.media_type) for file in results.audit_files(folder)]
    assert found == [
        ("audit", "audit.json", "application/json"),
        ("neighbours", "neighbours.png", "image/png"),
        ("nearest", "nearest.png", "image/png"),
    ]
