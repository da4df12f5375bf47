"""Files of weights are looked into without torch, and whatever is wrong with them is said before a job is queued."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from ddcore.spec import JobSpec, LinearGradientConfig, Problem, SpecError, parse
from ddcore.spec.weight_files import completed, digest_of, folder_of_backbones, look_into

OURS = {"name": "convnet", "width": 4}
JOB: dict[str, Any] = {"dataset": "digits", "ipc": 1}
TENSORS: dict[str, Any] = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F16", "shape": [], "data_offsets": [24, 26]},
    "count": {"dtype": "I64", "shape": [1], "data_offsets": [26, 34]},
}


def write(folder: Path, tensors: object = TENSORS, data: int = 34, name: str = "net") -> Path:
    header = json.dumps(tensors).encode()
    path = folder / f"{name}.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(data))
    return path


def job(**backbone: Any) -> JobSpec:
    backbone = {"weights": "net", "network": OURS, **backbone}
    return parse({**JOB, "method": {"name": "linear_gradient", "backbone": backbone}})


def faults(spec: JobSpec, folder: Path | None) -> list[Problem]:
    with pytest.raises(SpecError) as refused:
        completed(spec, folder)
    return list(refused.value.problems)


def test_a_header_says_what_the_file_holds(tmp_path: Path) -> None:
    path = write(tmp_path, {**TENSORS, "__metadata__": {"format": "pt"}})
    found = look_into(path)
    assert found.shapes == {"a": (2, 3), "b": (), "count": (1,)}
    assert (found.parameters, found.bytes) == (7, path.stat().st_size)


def test_a_job_is_pinned_to_the_file_that_it_names(tmp_path: Path) -> None:
    path = write(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    spec = completed(job(), tmp_path)
    assert isinstance(spec.method, LinearGradientConfig)
    assert spec.method.backbone is not None
    assert (spec.method.backbone.sha256, spec.method.backbone.parameters) == (digest, 7)
    again = completed(parse(spec.model_dump(mode="json")), tmp_path)
    assert again == spec, "what was filled in is checked, and stays"
    assert spec.facts == job().facts is not None
    other = parse({**JOB, "method": "dm"})
    assert completed(other, None) is other


def test_both_parts_of_a_job_are_looked_at(tmp_path: Path) -> None:
    body = {
        **JOB,
        "method": {"name": "linear_gradient", "backbone": {"weights": "nets", "network": OURS}},
        "evaluation": {"protocol": "linear_probe", "backbone": {"weights": "other", "timm": "resnet18"}},
    }
    write(tmp_path)
    found = faults(parse(body), tmp_path)
    assert [fault.pointer for fault in found] == ["/method/backbone/weights", "/evaluation/backbone/weights"]
    assert "holds no nets.safetensors, did you mean 'net'?; there are: net" in found[0].detail
    assert "holds no other.safetensors; there are: net" in found[1].detail
    write(tmp_path, name="nets")
    write(tmp_path, name="other")
    spec = completed(parse(body), tmp_path)
    assert spec.evaluation.backbone is not None
    assert spec.evaluation.backbone.parameters == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with the length of a header"),
        (b"\x10", "does not begin with the length of a header"),
        ((200).to_bytes(8, "little") + b"{}", "does not begin with the length of a header"),
        (b"PK\x03\x04" + bytes(400), "does not begin with the length of a header"),
        ((4).to_bytes(8, "little") + b"nope", "its header is not the JSON"),
        ((4).to_bytes(8, "little") + b"\xff\xfe\xfd\xfc", "its header is not the JSON"),
        ((2).to_bytes(8, "little") + b"[]", "holds no weights"),
        ((9).to_bytes(8, "little") + b'{"a": []}', "its header is not the JSON"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "net.safetensors").write_bytes(content)
    (fault,) = faults(job(), tmp_path)
    assert (fault.pointer, fault.code) == ("/method/backbone/weights", "unfit_weights")
    assert fault.detail.startswith("`weights` is 'net', but net.safetensors ")
    assert message in fault.detail


@pytest.mark.parametrize(
    ("tensors", "data", "message"),
    [
        (TENSORS, 33, "its header gives `count` bytes that are not there"),
        (TENSORS, 40, "34 bytes of tensors are in its header, and 40 follow it"),
        ({"a": {**TENSORS["a"], "shape": [2, 4]}}, 24, "its header gives `a` bytes that are not there"),
        ({"a": {**TENSORS["a"], "shape": [-2, -3]}}, 24, "its header gives `a` bytes that are not there"),
        ({"a": {**TENSORS["a"], "dtype": "F8_E4M3"}}, 24, "holds `a` as F8_E4M3; convert it"),
        ({"count": {**TENSORS["count"], "data_offsets": [0, 8]}}, 8, "holds no weights"),
        ({"a": {"dtype": "F32", "shape": [2, 3]}}, 24, "its header is not the JSON"),
        ({"a": {**TENSORS["a"], "shape": 6}}, 24, "its header is not the JSON"),
    ],
)
def test_damage_is_seen_in_the_header(tmp_path: Path, tensors: Any, data: int, message: str) -> None:
    write(tmp_path, tensors, data)
    (fault,) = faults(job(), tmp_path)
    assert message in fault.detail


def test_other_weights_than_the_job_says_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (fault,) = faults(job(sha256="0" * 64), tmp_path)
    assert fault.pointer == "/method/backbone/sha256"
    assert "leave `sha256` and `parameters` out to take the one that is there" in fault.detail
    (fault,) = faults(job(parameters=8), tmp_path)
    assert fault.detail == (
        "`parameters` is 8, but net.safetensors holds 7; leave it out, and it is filled in"
    )  # fmt: skip


def test_a_folder_that_is_not_there_has_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DD_BACKBONES_DIR", raising=False)
    assert "holds no net.safetensors; there is none" in faults(job(), tmp_path / "absent")[0].detail
    assert "there is no folder of backbones: set DD_BACKBONES_DIR" in faults(job(), folder_of_backbones())[0].detail
    monkeypatch.setenv("DD_BACKBONES_DIR", str(tmp_path))
    assert (folder_of_backbones(), folder_of_backbones(tmp_path / "given")) == (tmp_path, tmp_path / "given")


def test_a_folder_under_the_name_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").mkdir()
    assert faults(job(), tmp_path)[0].code == "unknown_weights"


def test_a_file_that_changes_has_another_hash(tmp_path: Path) -> None:
    path = write(tmp_path)
    before = digest_of(path)
    content = bytearray(path.read_bytes())
    content[-1] = 1
    path.write_bytes(content)
    assert digest_of(path) == hashlib.sha256(content).hexdigest() != before


@pytest.mark.parametrize("name", ["", ".", "..", "../net", "a/b", "/etc/passwd", ".net", "a\\b", "net\n", "x" * 101])
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(SpecError, match="/method/backbone/weights: `weights` is"):
        job(weights=name)
    with pytest.raises(SpecError, match="/method/backbone/timm: `timm` is"):
        job(network=None, timm=f"hf-hub:{name}")
