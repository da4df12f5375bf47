"""Weights that a job names are looked at before it is queued."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.core.settings import Settings

if TYPE_CHECKING:
    from tests.app.conftest import Api

OURS = {"name": "convnet", "width": 4}


def weights(api: Api, name: str, numbers: int = 5) -> Path:
    """A file that holds so many zeros."""
    header = {"a": {"dtype": "F32", "shape": [numbers], "data_offsets": [0, 4 * numbers]}}
    content = json.dumps(header).encode()
    folder = api.settings.backbones_dir
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.safetensors"
    with path.open("wb") as file:
        file.write(len(content).to_bytes(8, "little") + content)
        file.truncate(8 + len(content) + 4 * numbers)
    return path


def job(**backbone: Any) -> dict[str, Any]:
    return {
        "dataset": "cifar10", "ipc": 1, "evaluation": {"repeats": 0},
        "method": {"name": "linear_gradient", "iterations": 10, "backbone": backbone},
    }  # fmt: skip


def faults(api: Api, body: dict[str, Any], to: str = "/v1/jobs") -> dict[str, str]:
    response = api.post(to, json=body)
    assert response.status_code == 422, response.text
    return {one["pointer"]: one["detail"] for one in response.json()["errors"]}


def test_the_folder_lies_in_the_state_folder_unless_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(home=tmp_path).backbones_dir == tmp_path / "backbones"
    monkeypatch.setenv("DD_BACKBONES_DIR", str(tmp_path / "zoo"))
    assert Settings(home=tmp_path).backbones_dir == tmp_path / "zoo"


def test_a_job_and_its_copies_are_pinned_to_the_content_of_the_file(api: Api) -> None:
    path = weights(api, "net")
    made = api.submit(job(weights="net", network=OURS))
    backbone = made["spec"]["method"]["backbone"]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (backbone["sha256"], backbone["parameters"]) == (digest, 5)
    copied = api.post(f"/v1/jobs/{made['id']}:clone", json={"overrides": {"seed": 1}})
    assert copied.status_code == 201, copied.text
    assert copied.json()["spec"]["method"]["backbone"] == backbone
    weights(api, "net", 6)
    refused = api.post(f"/v1/jobs/{made['id']}:clone", json={"overrides": {"seed": 2}})
    assert refused.status_code == 422
    assert f"`sha256` is {digest}, but net.safetensors has" in refused.text
    path.unlink()
    assert "holds no net.safetensors; there is none" in api.post(f"/v1/jobs/{made['id']}:clone", json={}).text


@pytest.mark.parametrize("to", ["/v1/jobs", "/v1/jobs:validate"])
def test_what_cannot_be_used_is_refused_with_what_can(api: Api, to: str) -> None:
    weights(api, "dino-small")
    (api.settings.backbones_dir / "broken.safetensors").write_bytes(b"PK\x03\x04 a zip")
    (api.settings.home / "secret.safetensors").write_bytes(b"x")
    found = faults(api, job(weights="dino", timm="resnet18"), to)
    assert found == {
        "/method/backbone/weights": "`weights` is 'dino', but the folder of backbones (DD_BACKBONES_DIR) holds no "
        "dino.safetensors, did you mean 'dino-small'?; there are: broken, dino-small"
    }
    assert (
        "is no safetensors file" in faults(api, job(weights="broken", timm="resnet18"), to)["/method/backbone/weights"]
    )
    assert set(faults(api, job(weights="../secret", timm="resnet18"), to)) == {"/method/backbone/weights"}
    scoring = {"protocol": "linear_probe", "backbone": {"weights": "none", "network": OURS}}
    both = {**job(weights="nope", network=OURS), "evaluation": scoring}
    assert set(faults(api, both, to)) == {"/method/backbone/weights", "/evaluation/backbone/weights"}


def test_an_estimate_grows_with_the_file_and_says_what_is_not_known(api: Api) -> None:
    weights(api, "small", 1_000_000)
    weights(api, "large", 300_000_000)
    answers = {}
    for name in ("small", "large"):
        response = api.post("/v1/jobs:validate", json=job(weights=name, timm="resnet18", size=64))
        assert response.status_code == 200, response.text
        answers[name] = response.json()
    small, large = (answers[name]["estimate"] for name in ("small", "large"))
    for device in small["peak_bytes"]:
        assert large["peak_bytes"][device] - small["peak_bytes"][device] > 4 * 290_000_000
    assert large["flop"] > 10 * small["flop"]
    assert (
        "the operations of timm's `resnet18` are not known before it runs: the estimate counts each of its 1,000,000 "
        "parameters once for every square of 16 x 16 pixels"
    ) in answers["small"]["warnings"]


def test_a_score_is_refused_likewise(api: Api) -> None:
    recipe = {"evaluation": {"protocol": "linear_probe", "backbone": {"weights": "none", "network": OURS}}}
    body = {"dataset": "cifar10", "file": "images.npz", "recipe": recipe}
    assert set(faults(api, body, "/v1/scores")) == {"/recipe/evaluation/backbone/weights"}
