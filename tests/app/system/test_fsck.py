"""The store held against the database: what is damaged, missing or unknown, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.artifacts import repository
from app.artifacts import service as artifacts
from app.artifacts.service import Output
from app.core.storage.blobs import key_of
from app.models.artifacts import Artifact
from app.models.logs import LogPart
from app.system import fsck
from ddclient.commands import system
from tests.app.scores.conftest import Scores

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


@pytest.fixture
def stored(api: Api, tmp_path: Path, spec: dict[str, Any]) -> dict[str, Path]:
    """A job with a bundle and a checkpoint, and the files that the store has of them."""
    job_id, found = api.submit(spec)["id"], {}
    for kind in ("bundle", "checkpoint"):
        (tmp_path / kind).write_text(f"the {kind}")
        with api.database.write() as session:
            made = artifacts.publish(session, api.state.store, job_id, 0, Output(kind, tmp_path / kind, "a/b"))
            row = session.get(Artifact, made)
            assert row is not None
            assert row.sha256 is not None
            found[kind] = api.settings.home / "artifacts" / key_of(row.sha256)
    return found | {"job": Path(job_id)}


def faults(api: Api) -> list[tuple[str, tuple[str, ...], str]]:
    return [(fault.kind, fault.of, fault.remedy) for fault in fsck.check(api.database, api.state.store)]


def test_what_is_as_it_should_be_has_no_fault(api: Api, stored: dict[str, Path]) -> None:
    assert stored["bundle"].exists()
    assert faults(api) == []


def test_damaged_and_missing_content_is_named_with_what_needs_it(api: Api, stored: dict[str, Path]) -> None:
    stored["bundle"].chmod(0o600)
    stored["bundle"].write_text("the bundlE")
    stored["checkpoint"].unlink()
    found = {kind: (of, remedy) for kind, of, remedy in faults(api)}
    assert found["damaged"][0] == (f"{stored['job']} bundle",)
    assert f"`ddctl rerun {stored['job']}`" in found["damaged"][1]
    assert found["missing"][0] == (f"{stored['job']} checkpoint",)
    assert "goes on from an earlier checkpoint" in found["missing"][1]


def test_content_of_logs_counts_and_what_nobody_needs_does_not(api: Api, stored: dict[str, Path]) -> None:
    blob = api.state.store.put_stream(iter([b"lines"]))
    with api.database.write() as session:
        repository.keep(session, blob.sha256, blob.size)
        session.add(LogPart(job_id=str(stored["job"]), start=0, size=5, sha256=blob.sha256))
    (api.settings.home / "artifacts" / key_of(blob.sha256)).unlink()
    ((kind, of, _),) = faults(api)
    assert (kind, of) == ("missing", (f"{stored['job']} log",))


def test_uploads_count_until_a_worker_has_read_them(api: Api) -> None:
    score_id = Scores(api).sent()
    (stored,) = (path for path in (api.settings.home / "artifacts" / "sha256").rglob("*") if path.is_file())
    stored.unlink()
    assert faults(api) == [("missing", (f"{score_id} upload",), "delete the score and send its file again")]


def test_files_that_the_database_does_not_know_are_listed(api: Api, stored: dict[str, Path]) -> None:
    api.state.store.put_stream(iter([b"left over"]))
    ((kind, of, remedy),) = faults(api)
    assert (kind, of) == ("unused", ())
    assert "does no harm" in remedy


def test_the_command_prints_every_fault_and_tells_by_its_status(
    api: Api, stored: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (fsck.__name__, fsck.DAMAGED) == (system.FSCK, system.DAMAGED), "ddctl runs it in another process"
    monkeypatch.setattr(fsck, "Settings", lambda: api.settings)
    assert fsck.main([]) == 0
    assert "everything that is needed is there" in capsys.readouterr().err
    stored["bundle"].unlink()
    assert fsck.main(["--json"]) == fsck.DAMAGED
    printed = capsys.readouterr()
    assert json.loads(printed.out)["kind"] == "missing"
    assert "1 contents are damaged or missing" in printed.err
