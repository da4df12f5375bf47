"""``ddctl study`` and ``ddctl auto`` against the service in miniature."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddclient import Client, cli
from ddclient.errors import Exit
from tests.ddclient.conftest import JOB_ID, FakeService, artifact_document, bundle_zip, job_document
from tests.ddclient.study_documents import STUDY_ID, VALIDATION, study_document, won

PATH = f"/v1/studies/{STUDY_ID}"
Ddctl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ddctl(service: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ddctl:
    """Run one command: exit status, standard output, standard error."""

    def connect(*_address: str, **options: Any) -> Client:
        return Client("http://service.test", "dd_key", transport=httpx.MockTransport(service), **options)

    for module in ("acting", "studies", "auto"):
        monkeypatch.setattr(f"ddclient.commands.{module}.Client", connect)
    service.on("POST", "/v1/studies:validate", VALIDATION)
    service.on("POST", "/v1/studies", study_document())

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.invoke(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def bundled(service: FakeService) -> None:
    """The winner's job with its bundle."""
    content = bundle_zip()
    service.on("GET", f"/v1/jobs/{JOB_ID}", job_document("succeeded"))
    service.on("GET", f"/v1/jobs/{JOB_ID}/artifacts", {"data": [artifact_document(content)]})
    service.on("GET", "/v1/artifacts/art_1/content", httpx.Response(200, content=content))


def test_create_sends_what_the_options_say(ddctl: Ddctl, service: FakeService) -> None:
    status, out, err = ddctl(
        "study", "create", "digits", "--space", "method=dm,idm", "--space", "regularizers.mim.weight=0.1..10:5:log",
        "--ipc", "2", "--iterations", "50", "--set", "evaluation.epochs=5", "--jobs", "9", "--seeds", "0,1",
        "--objective", "accuracy_per_byte", "--scoring", "networks=2", "--rungs", "2", "--label", "team=a",
    )  # fmt: skip
    assert (status, out) == (0, f"{STUDY_ID}\n"), err
    for line in (
        "valid     digits, over methods and their settings",
        "trials    2 of 2 points: herding; dm",
        "cost      2 jobs, about 1 min 30 s of running, 90 steps of the 90 that all trials to the end would take",
        "refused   1 of the points: no steps",
        "warning   no worker",
    ):
        assert line in err
    assert service.bodies("POST", "/v1/studies") == [
        {
            "base": {"dataset": "digits", "ipc": 2, "method": {"iterations": 50}, "evaluation": {"epochs": 5}},
            "space": {
                "method": ["dm", "idm"],
                "regularizers.mim.weight": {"from": 0.1, "to": 10, "count": 5, "scale": "log"},
            },
            "budget": {"jobs": 9},
            "seeds": [0, 1],
            "scoring": {"networks": 2},
            "objective": "accuracy_per_byte",
            "rungs": 2,
            "labels": {"team": "a"},
        }
    ]


def test_a_file_comes_first_and_options_change_it(ddctl: Ddctl, service: FakeService, tmp_path: Path) -> None:
    file = tmp_path / "study.json"
    request = {"base": {"dataset": "digits", "method": "idm"}, "space": {"ipc": [1, 2]}, "budget": {"jobs": 2}}
    file.write_text(json.dumps(request))
    assert ddctl("study", "validate", str(file), "--json")[0] == 0
    assert ddctl("study", "create", "--file", str(file), "--minutes", "3", "--set", "seed=4", "--dry-run")[0] == 0
    bodies = service.bodies("POST", "/v1/studies:validate")
    changed = {**request, "base": {"dataset": "digits", "method": "idm", "seed": 4}, "budget": {"minutes": 3}}
    assert bodies == [request, changed]
    assert service.bodies("POST", "/v1/studies") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--space", "method=dm"), "nothing says what to distill"),
        (("digits", "--space", "ipc=1..3"), "'1..3' is no span; write values as dm, idm or a span as 0.1..10:5"),
        (("digits", "--space", "ipc"), "--space is 'ipc', but must look like name=value"),
        (("digits", "--seeds", "0,x"), "--seeds is '0,x', but must be whole numbers"),
        (("digits", "--jobs", "3", "--minutes", "3"), "one budget"),
        (("digits", "--size", "8"), "--size"),
        (("./photos", "--dry-run"), "`ddctl datasets add`"),
    ],
)
def test_what_cannot_be_meant_is_said(ddctl: Ddctl, service: FakeService, words: tuple[str, ...], said: str) -> None:
    status, _, err = ddctl("study", "create", *words)
    assert (status, said in err) == (Exit.BAD_INPUT, True), err
    assert service.bodies("POST", "/v1/studies") == []


@pytest.mark.parametrize(("status", "code"), [("succeeded", 0), ("failed", 1), ("cancelled", 3), ("paused", 75)])
def test_watching_ends_with_the_outcome(ddctl: Ddctl, service: FakeService, status: str, code: int) -> None:
    service.on("GET", PATH, study_document(status))
    assert ddctl("study", "watch", STUDY_ID)[0] == code


@pytest.mark.usefixtures("bundled")
def test_the_winner_is_fetched(ddctl: Ddctl, service: FakeService, tmp_path: Path) -> None:
    service.on("GET", PATH, won())
    status, out, _ = ddctl("study", "watch", STUDY_ID, "--out", str(tmp_path / "out"))
    assert status == 0
    assert "winner    idm, ipc 1" in out
    assert "chosen by 85.0 % ± 0.5 on validation images" in out
    assert "coreset   herding, 78.9 % ± 0.4 on validation images" in out
    assert "answer    The set beats the best coreset by 6.1 points." in out
    assert (tmp_path / "out" / "distilled.safetensors").is_file()
    assert json.loads(ddctl("study", "watch", STUDY_ID, "--json")[1])["winner"]["job_id"] == JOB_ID
    assert f"`ddctl get {JOB_ID} -o DIR`" in ddctl("study", "watch", STUDY_ID)[2]


def test_ctrl_c_detaches(ddctl: Ddctl, service: FakeService) -> None:
    def interrupted(_request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    service.on("GET", PATH, study_document(), interrupted)
    status, out, err = ddctl("study", "create", "digits", "--watch")
    assert (status, f"`ddctl study watch {STUDY_ID}` returns to it" in err) == (Exit.DETACHED, True)
    assert STUDY_ID in out


def test_list_show_and_verbs(ddctl: Ddctl, service: FakeService) -> None:
    service.on("GET", "/v1/studies", {"data": [won(), study_document()]})
    service.on("GET", PATH, won() | {"failures": [{"reason": "`loss` became nan", "trials": 1}]})
    service.on("DELETE", PATH, httpx.Response(204))
    listed = ddctl("study", "list", "--limit", "2")[1]
    assert "idm, ipc 1, 84.1 % ± 0.7" in listed
    shown = ddctl("study", "show", STUDY_ID, "--trials")[1]
    assert "not promoted: 3rd of 3 at rung 0" in shown
    assert "left out  1 of the trials: `loss` became nan" in shown
    for verb in ("pause", "resume", "cancel"):
        service.on("POST", f"{PATH}:{verb}", study_document("pausing"))
        assert ddctl("study", verb, STUDY_ID) == (0, f"{STUDY_ID} pausing\n", "")
    assert ddctl("study", "delete", STUDY_ID, "--yes")[1] == f"{STUDY_ID} deleted\n"


@pytest.mark.usefixtures("bundled")
def test_auto_begins_the_automatic_study_and_fetches_what_won(
    ddctl: Ddctl, service: FakeService, tmp_path: Path
) -> None:
    service.on("GET", PATH, study_document(), won())
    status, out, err = ddctl("auto", "digits", "--ipc", "1", "--minutes", "2", "-o", str(tmp_path / "out"))
    assert status == 0, err
    assert service.bodies("POST", "/v1/studies") == [
        {"base": {"dataset": "digits", "ipc": 1, "method": "auto"}, "budget": {"minutes": 2.0}}
    ]
    assert err.index("rung 0,") < err.index("rung 2,") < err.index("evaluation of the winner")
    assert f"http://service.test/studies/{STUDY_ID}" in err
    assert f"bundle    {tmp_path / 'out'}" in out


def test_a_local_service_is_not_asked_for_beside_another(ddctl: Ddctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DD_URL", "http://127.0.0.1:1")
    status, _, err = ddctl("auto", "digits", "--local")
    assert (status, "--local is for this machine, but DD_URL names http://127.0.0.1:1" in err) == (2, True)


def test_without_a_service_auto_runs_one_meanwhile(
    ddctl: Ddctl, service: FakeService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[str] = []

    class Standin:
        url, api_key = "http://service.test", "dd_key"

        def __init__(self, home: Path, **options: Any) -> None:
            assert (home, options) == (tmp_path / "home", {"port": 0, "data_root": None})

        def start(self) -> None:
            calls.append("start")

        def check(self) -> None:
            calls.append("check")

        def stop(self) -> None:
            calls.append("stop")

    monkeypatch.setattr("ddclient.embedded.Service", Standin)
    service.on("GET", PATH, study_document(), won())
    assert ddctl("auto", "digits", "--local")[0] == 0
    assert calls == ["start", "check", "stop"]
