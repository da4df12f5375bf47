"""``ddctl datasets`` and ``ddctl submit ./path`` where a service is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddclient import Client, cli
from ddclient.errors import Exit
from tests.ddclient.conftest import job_document
from tests.ddclient.datasets_service import DatasetsService

Ddctl = Callable[..., tuple[int, str, str]]
VALIDATION: dict[str, Any] = {"spec": {}, "warnings": [], "plan": [], "estimate": None}
SIZES = "images must agree in size; `size` 8 cuts (--size 8, --size 8 --fit pad)"


@pytest.fixture
def service() -> DatasetsService:
    return DatasetsService()


@pytest.fixture
def ddctl(
    service: DatasetsService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Ddctl:
    """Run one command in a folder that holds the images ``photos``."""
    (tmp_path / "here" / "photos" / "cats").mkdir(parents=True)
    (tmp_path / "here" / "photos" / "cats" / "1.png").write_bytes(b"pixels")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DD_URL", "http://service.test")
    monkeypatch.setattr("ddclient.handle.FIRST_PAUSE_S", 0.0)
    for module in ("jobs", "service_sets"):
        monkeypatch.setattr(f"ddclient.commands.{module}.Client", lambda: Client(None, "dd_key", transport=service))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.invoke(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_a_refusal_is_answered_with_commands_that_send_nothing_again(ddctl: Ddctl, service: DatasetsService) -> None:
    service.outcome = {"state": "failed", "error": {"code": "data_error", "message": SIZES}}
    status, _, said = ddctl("datasets", "add", "photos", "--skip-unreadable", "--split-seed", "3")
    identity = next(iter(service.sets))
    again = f"  ddctl datasets ingest {identity} --split-seed 3 --skip-unreadable --size 8"
    assert (status, said.splitlines()[-2:]) == (Exit.FAILED, [again, f"{again} --fit pad"])
    status, out, _ = ddctl("datasets", "add", "photos", "--json")
    assert json.loads(out)["error"]["dataset_id"] in service.sets


def test_a_refusal_without_a_way_out_names_the_command(ddctl: Ddctl, service: DatasetsService) -> None:
    service.outcome = {"state": "failed", "error": {"code": "data_error", "message": "at least 2 classes are needed"}}
    said = ddctl("datasets", "add", "photos")[2]
    assert said.endswith(f"sent again: ddctl datasets ingest {next(iter(service.sets))}, with other options\n")


@pytest.mark.parametrize(("during", "said"), [("PUT", "goes on with what has been sent"), ("GET", "detached")])
def test_an_interruption_says_what_goes_on(
    ddctl: Ddctl, service: DatasetsService, monkeypatch: pytest.MonkeyPatch, during: str, said: str
) -> None:
    answer = service.handle_request

    def interrupted(request: httpx.Request) -> httpx.Response:
        if request.method == during and request.url.path.startswith("/v1/datasets/set_"):
            raise KeyboardInterrupt
        return answer(request)

    monkeypatch.setattr(service, "handle_request", interrupted)
    status, _, told = ddctl("datasets", "add", "photos")
    assert (status, said in told) == (Exit.DETACHED, True), told


def test_sets_under_way_show_how_they_stand(ddctl: Ddctl, service: DatasetsService) -> None:
    service.sets["set_a"] = {
        "id": "set_a", "name": "half", "reference": "half", "state": "receiving", "actions": ["delete"],
        "upload": {"file": "half.tar", "size": 5000, "received": 1234},
    }  # fmt: skip
    service.sets["set_b"] = {
        "id": "set_b", "name": "busy", "reference": "busy", "state": "ingesting",
        "job": {"id": "job_1", "status": "running", "done": 7, "total": 9000},
    }  # fmt: skip
    service.sets["x"] = {
        "id": None, "name": "digits", "reference": "digits", "state": "ready", "builtin": True, "shape": [1, 8, 8],
        "classes": ["0", "1"], "train_size": 1437, "test_size": 360, "smallest_class": 141,
    }  # fmt: skip
    status, out, said = ddctl("datasets", "list")
    assert (status, said) == (0, "in the service at http://service.test\n")
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines()[1:]}
    assert rows["half"] == "receiving, set_a ? ? ? ?"
    assert rows["digits"] == "built in 1,437 + 360 1 x 8 x 8 2 141"
    assert "1,234 of 5,000 bytes of half.tar" in ddctl("datasets", "show", "half")[1]
    assert "7 of 9,000 images" in ddctl("datasets", "show", "busy")[1]
    assert "1,437 + 360, 1 x 8 x 8; 2 classes, the smallest of 141" in ddctl("datasets", "show", "digits")[1]
    document = json.loads(ddctl("datasets", "show", "half", "--json")[1])
    assert document["dataset"]["upload"]["received"] == 1234


def test_removing_says_from_where(ddctl: Ddctl, service: DatasetsService) -> None:
    service.sets["set_a"] = {"id": "set_a", "name": "old", "reference": "old", "state": "failed"}
    assert ddctl("datasets", "rm", "old") == (0, "removed old from the service at http://service.test\n", "")
    assert service.sets == {}


def test_a_word_is_submitted_as_a_name_though_a_folder_lies_here(ddctl: Ddctl, service: DatasetsService) -> None:
    service.others["POST", "/v1/jobs"] = job_document("queued")
    service.others["POST", "/v1/jobs:validate"] = VALIDATION
    assert ddctl("submit", "photos", "--ipc", "2")[0] == 0
    assert [request.url.path for request in service.requests] == ["/v1/jobs:validate", "/v1/jobs"]
    status, _, said = ddctl("submit", "photos", "--ipc", "2", "--size", "8")
    assert (status, "--size says how images are taken in" in said) == (Exit.BAD_INPUT, True)


def test_a_path_in_a_specification_is_sent_too(ddctl: Ddctl, service: DatasetsService, tmp_path: Path) -> None:
    service.others["POST", "/v1/jobs"] = job_document("queued")
    service.others["POST", "/v1/jobs:validate"] = VALIDATION
    service.others["GET", f"/v1/datasets/set_{0:026}/report"] = report()
    (tmp_path / "job.json").write_text(json.dumps({"dataset": "./photos", "ipc": 2, "method": "dm"}))
    status, out, said = ddctl("submit", "--spec", str(tmp_path / "job.json"), "--size", "8")
    assert (status, out) == (0, f"{job_document()['id']}\n"), said
    assert "as photos@1 in the service at http://service.test" in said
    assert json.loads(service.requests[-1].read())["dataset"] == "photos@1"
    (found,) = service.sets.values()
    assert found["options"]["size"] == 8


def report() -> dict[str, Any]:
    split = {"images": 2, "per_class": {"cats": 1, "dogs": 1}}
    return {
        "id": "ds_1", "digest": "1", "name": "photos", "layout": "class folders", "why": "folders", "options": {},
        "shape": [3, 8, 8], "classes": ["cats", "dogs"], "splits": {"train": split, "test": split}, "sizes": [],
        "distinct_sizes": 0, "modes": {"RGB": 4}, "levels": None, "mean": [0, 0, 0], "std": [1, 1, 1],
        "constant_channels": [], "unreadable": [], "unlabelled": 0, "ignored": {}, "largest_ipc": [], "remarks": [],
        "duplicates": {"within_classes": 0, "contradictory": 0, "leaked": 0, "near_within_classes": 0,
                       "near_contradictory": 0, "near_leaked": 0},
    }  # fmt: skip
