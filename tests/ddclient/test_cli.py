from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from ddclient import Client, cli
from ddclient.errors import Exit
from tests.ddclient.conftest import JOB_ID, VALIDATION, FakeService, artifact_document, bundle_zip, job_document

PATH = f"/v1/jobs/{JOB_ID}"
RESULTS: dict[str, Any] = {
    "accuracy": {"mean": 71.25, "std": 0.5, "networks": 3},
    "controls": {"random": {"mean": 60.0, "std": 1.0, "networks": 3}},
}
Ddctl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ddctl(service: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ddctl:
    """Run one command against the service in miniature: exit status, standard output, standard error."""

    def connect(**options: Any) -> Client:
        return Client("http://service.test", "dd_key", transport=httpx.MockTransport(service), **options)

    for module in ("acting", "jobs", "list_jobs", "checking", "changes", "records", "catalog", "keys", "system"):
        monkeypatch.setattr(f"ddclient.commands.{module}.Client", connect)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.invoke(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_submit_prints_the_id(ddctl: Ddctl, service: FakeService) -> None:
    service.on("POST", "/v1/jobs", job_document("queued"))
    command = "submit cifar10 --method dm --ipc 10 --iterations 300 --seed 0 --reg cmi=2000 --label team=a --name mine"
    status, out, err = ddctl(*command.split())
    assert (status, out) == (0, f"{JOB_ID}\n")
    assert "about 45 s (30 s to 1 min 10 s), 950 MB of memory\n          from 2 jobs of dm on digits\n" in err
    assert "warning   no worker is alive" in err
    assert service.bodies("POST", "/v1/jobs") == [
        {
            "dataset": "cifar10",
            "ipc": 10,
            "seed": 0,
            "method": {"name": "dm", "iterations": 300},
            "regularizers": {"cmi": {"weight": 2000.0}},
            "name": "mine",
            "labels": {"team": "a"},
        }
    ]


def test_an_estimate_leaves_out_devices_that_nobody_has_and_says_its_basis_once(
    ddctl: Ddctl, service: FakeService
) -> None:
    seconds = {"low": 0.01, "expected": 0.03, "high": 0.1, "measured": False, "basis": "from a rough speed"}
    slow = {**seconds, "low": 20.0, "expected": 40.0, "high": 90.0}
    peak = {"cpu": 968_000_000, "cuda": 38_000_000}
    estimate = {"seconds": {"cpu": slow, "cuda": seconds}, "peak_bytes": peak, "available": ["cpu"], "basis": ""}

    def printed(available: list[str]) -> str:
        validation = {**VALIDATION, "estimate": {**estimate, "available": available}}
        service.on("POST", "/v1/jobs:validate", validation)
        return ddctl("submit", "digits", "--dry-run")[1]

    on_cpu = "estimate  on a CPU about 40 s (20 s to 1 min 30 s), 968 MB of memory\n"
    on_gpu = "estimate  on a GPU less than 1 s, 38 MB of memory\n"
    basis = "          from a rough speed\n"
    assert f"{on_cpu}{basis}warning" in printed(["cpu"])
    assert f"{on_cpu}{on_gpu}{basis}warning" in printed([])


def test_a_dry_run_submits_nothing(ddctl: Ddctl, service: FakeService, tmp_path: Path) -> None:
    status, out, _ = ddctl("submit", "digits", "--dry-run")
    assert (status, "estimate  on a CPU about 45 s" in out) == (0, True)
    spec = tmp_path / "job.toml"
    spec.write_text('dataset = "digits"\nmethod = "dm"\n')
    for command in (("submit", "--spec", str(spec), "--dry-run", "--json"), ("validate", str(spec), "--json")):
        assert json.loads(ddctl(*command)[1]) == VALIDATION
    assert service.bodies("POST", "/v1/jobs:validate")[-1] == {"dataset": "digits", "method": "dm"}
    status, _, err = ddctl("submit", "./photos", "--dry-run")
    assert (status, "`ddctl datasets add`" in err) == (Exit.BAD_INPUT, True)
    assert {request.url.path for request in service.requests} == {"/v1/jobs:validate"}


@pytest.mark.parametrize(
    ("status", "code"), [("succeeded", 0), ("failed", 1), ("expired", 1), ("cancelled", 3), ("paused", 75)]
)
def test_the_exit_status_is_the_outcome_of_the_job(ddctl: Ddctl, service: FakeService, status: str, code: int) -> None:
    service.on("POST", "/v1/jobs", job_document("queued"))
    service.on("GET", PATH, job_document(status))
    found, out, err = ddctl("submit", "digits", "--watch", "--json")
    assert found == code
    assert json.loads(out)["status"] == status
    assert JOB_ID in err


def test_a_bundle_is_fetched_where_its_job_ends_well(
    ddctl: Ddctl, service: FakeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[tuple[str, Path]] = []

    def download(_client: Client, job_id: str, out: Path) -> Any:
        fetched.append((job_id, out))
        return SimpleNamespace(path=out)

    monkeypatch.setattr(Client, "download", download)
    service.on("POST", "/v1/jobs", job_document("queued"))
    for status, code, expected in (("failed", 1, []), ("succeeded", 0, [(JOB_ID, tmp_path / "out")])):
        service.on("GET", PATH, job_document(status))
        found, _, err = ddctl("submit", "digits", "--out", str(tmp_path / "out"))
        assert (found, fetched) == (code, expected)
        assert (str(tmp_path / "out") in err) == bool(expected)


def test_watching_shows_every_control_and_score(ddctl: Ddctl, service: FakeService) -> None:
    found = {"mean": 65.0, "std": 0.5, "networks": 3}
    results = {
        **RESULTS,
        "controls": {**RESULTS["controls"], "herding": found, "full": found},
        "scores": {"label_robust": {"score": 31.25}},
    }
    service.on("GET", PATH, job_document("succeeded", results=results))
    _, out, _ = ddctl("watch", JOB_ID)
    said = " ".join(out.split())
    assert "real images of the same number chosen by herding: 65.0 % ± 0.5; all real images: 65.0 % ± 0.5" in said
    assert "label-robust score: 31.2" in said


def test_watching_shows_the_score_beside_the_control(ddctl: Ddctl, service: FakeService) -> None:
    service.on("GET", PATH, job_document("succeeded", results=RESULTS))
    status, out, _ = ddctl("watch", JOB_ID)
    assert status == 0
    assert "71.2 % ± 0.5 over 3 networks; random real images of the same number: 60.0 % ± 1.0" in out


def test_control_c_detaches_and_says_so(ddctl: Ddctl, service: FakeService) -> None:
    def interrupt(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    service.on("GET", PATH, job_document(), interrupt)
    status, out, err = ddctl("watch", JOB_ID, "--json")
    assert status == Exit.DETACHED
    assert f"detached; the job goes on. `ddctl watch {JOB_ID}`" in err
    assert json.loads(out)["id"] == JOB_ID


def test_get_prints_the_job_or_fetches_its_bundle(ddctl: Ddctl, service: FakeService, tmp_path: Path) -> None:
    content = bundle_zip()
    service.on("GET", PATH, job_document("succeeded", results=RESULTS, name="mine"))
    service.on("GET", f"{PATH}/artifacts", {"data": [artifact_document(content)]})
    service.on("GET", "/v1/artifacts/art_1/content", httpx.Response(200, content=content))
    assert "digits, 2 images a class, dm + cmi" in ddctl("get", JOB_ID)[1]
    status, out, _ = ddctl("get", JOB_ID, "-o", str(tmp_path / "out"), "--json")
    assert (status, json.loads(out)) == (0, {"job_id": JOB_ID, "path": str(tmp_path / "out")})
    assert (tmp_path / "out" / "distilled.safetensors").is_file()


def test_list_shows_the_newest_first_and_no_more_than_asked(ddctl: Ddctl, service: FakeService) -> None:
    service.on("GET", "/v1/jobs", {"data": [job_document("succeeded", results=RESULTS)] * 3, "next_cursor": "more"})
    _, out, _ = ddctl("list", "--limit", "2", "--status", "succeeded", "--status", "failed")
    assert out.count(JOB_ID) == 2
    assert "71.2 %" in out
    assert [request.url.params["status"] for request in service.requests] == ["succeeded,failed"]
    assert len(json.loads(ddctl("list", "--limit", "2", "--json")[1])) == 2


def test_list_sorts_searches_and_prints_the_columns_that_are_asked_for(ddctl: Ddctl, service: FakeService) -> None:
    times = {"created_at": "2026-01-01T00:00:00Z", "started_at": "2026-01-01T00:00:10Z"}
    results = {**RESULTS, "controls": {"random": {"mean": 60.0, "std": 1.0, "networks": 3}}}
    job = job_document(
        "succeeded", results=results, finished_at="2026-01-01T00:01:40Z", labels={"team": "a"},
        progress={"step": 50, "total_steps": 200}, **times,
    )  # fmt: skip
    service.on("GET", "/v1/jobs", {"data": [job], "next_cursor": None})
    words = ("list", "--search", "sweep 9", "--sort=-gain", "--label", "team=a", "--label", "x:y=z")
    status, out, err = ddctl(*words, "--columns", "status, gain,duration,progress,labels,method")
    assert (status, err) == (0, "")
    assert (
        out.split() == "status gain duration progress labels method succeeded +11.2 1 min 30 s 25 % team:a dm".split()
    )
    sent = service.requests[0].url.params
    assert (sent["search"], sent["sort"], sent.get_list("label")) == ("sweep 9", "-gain", ["team:a", "x:y=z"])
    status, _, err = ddctl("list", "--columns", "accuracyx")
    assert (status, "did you mean 'accuracy'?" in err) == (Exit.BAD_INPUT, True)


def test_an_empty_list_says_so(ddctl: Ddctl, service: FakeService) -> None:
    service.on("GET", "/v1/jobs", {"data": [], "next_cursor": None})
    assert ddctl("list")[1] == "no jobs\n"
    assert json.loads(ddctl("list", "--json")[1]) == []


@pytest.mark.parametrize(
    ("command", "verb", "body"),
    [
        ("cancel ID --keep-result --reason enough", "cancel", {"keep_result": True, "reason": "enough"}),
        ("cancel ID", "cancel", {"keep_result": False}),
        ("pause ID", "pause", {}),
        ("resume ID", "resume", {}),
        ("retry ID --from-scratch", "retry", {"from_scratch": True}),
    ],
)
def test_verbs(ddctl: Ddctl, service: FakeService, command: str, verb: str, body: dict[str, Any]) -> None:
    service.on("POST", f"{PATH}:{verb}", job_document("queued"))
    status, out, _ = ddctl(*command.replace("ID", JOB_ID).split())
    assert (status, out) == (0, f"{JOB_ID} queued\n")
    assert service.bodies("POST", f"{PATH}:{verb}") == [body]


def test_events_are_printed_line_by_line_or_as_one_document(ddctl: Ddctl, service: FakeService) -> None:
    rows = [
        {"seq": 1, "job_id": JOB_ID, "type": "job.created", "at": "2026-01-01T00:00:00.000Z", "message": "queued"},
        {"seq": 2, "job_id": JOB_ID, "type": "job.log", "level": "warning", "data": {"step": 3}},
    ]
    service.on("GET", f"{PATH}/events", {"data": rows})
    _, out, _ = ddctl("events", JOB_ID)
    assert [line.split()[0] for line in out.splitlines()] == ["1", "2"]
    assert "step 3" in out
    assert [event["seq"] for event in json.loads(ddctl("events", JOB_ID, "--json")[1])] == [1, 2]


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("submit", Exit.BAD_INPUT, "nothing says what to distill"),
        ("submit digits --reg cmi", Exit.BAD_INPUT, "--reg is 'cmi'"),
        ("submit digits --reg cmi=nan", Exit.BAD_INPUT, "must be a finite number"),
        ("submit digits --label team", Exit.BAD_INPUT, "--label is 'team'"),
        ("submit digits --ipc many", Exit.BAD_INPUT, "'--ipc'"),
        (
            "submt",
            Exit.BAD_INPUT,
            "there is no command 'submt', did you mean 'submit'? Others: 'resume'; `ddctl",
        ),
        ("metrik", Exit.BAD_INPUT, "did you mean 'metrics'?"),
        ("datasets ad", Exit.BAD_INPUT, "there is no command 'ad', did you mean 'add'?"),
        ("study shw", Exit.BAD_INPUT, "there is no command 'shw', did you mean 'show'?"),
        ("list --colums x", Exit.BAD_INPUT, "there is no option '--colums', did you mean '--columns'?"),
        ("list --qqq", Exit.BAD_INPUT, "there is no option '--qqq'; `ddctl list --help` lists all"),
        ("list --limit 0", Exit.BAD_INPUT, "limit"),
        ("get job_none", Exit.REFUSED, "Not found"),
        ("train-on nowhere", Exit.BAD_INPUT, "nowhere holds no manifest.json"),
        ("run cifar_10 --ipc 1", Exit.BAD_INPUT, "did you mean 'cifar10'?"),
        ("run digits --ipc 1 --method dmm", Exit.BAD_INPUT, "unknown method 'dmm', did you mean 'dm'?"),
        ("run digits --ipc 1 --reg cmi=1", Exit.BAD_INPUT, "CMI is identically zero with one image a class"),
        ("run digits --ipc 0", Exit.BAD_INPUT, "`ipc` is 0, but must be"),
        ("run digits --ipc 1 --set sed=1", Exit.BAD_INPUT, "did you mean `seed`?"),
        ("run --preset quick/dm-digit", Exit.BAD_INPUT, "did you mean 'quick/dm-digits'?"),
        ("run nothing.json", Exit.BAD_INPUT, "cannot read nothing.json"),
    ],
)
def test_errors_are_one_message_and_no_trace(
    ddctl: Ddctl, command: str, options: tuple[str, ...], code: Exit, message: str
) -> None:
    status, out, err = ddctl(*command.split(), *options)
    assert status == code
    assert message in (json.loads(out)["error"]["message"] if options else err)
    assert "Traceback" not in out + err
    assert bool(out) == bool(options)


def test_a_service_that_is_away_has_its_own_status(ddctl: Ddctl, service: FakeService) -> None:
    service.on("GET", "/v1/jobs", httpx.ConnectError("connection refused"))
    status, _, err = ddctl("list")
    assert status == Exit.UNREACHABLE
    assert "ddctl up" in err


def test_a_problem_document_is_passed_on(ddctl: Ddctl, service: FakeService) -> None:
    problem = {"title": "Invalid", "status": 422, "code": "invalid", "errors": [{"pointer": "/ipc", "detail": "no"}]}
    service.on("POST", "/v1/jobs", httpx.Response(422, json=problem))
    status, out, _ = ddctl("submit", "digits", "--json")
    assert status == Exit.BAD_INPUT
    assert json.loads(out)["error"] == {"code": "invalid", "message": "Invalid\n  /ipc: no", "problem": problem}


def test_a_fault_of_ours_leaves_a_report_and_no_trace(ddctl: Ddctl, service: FakeService) -> None:
    service.on("GET", PATH, RuntimeError("odd"))
    status, out, _ = ddctl("get", JOB_ID, "--json")
    error = json.loads(out)["error"]
    assert (status, error["code"]) == (Exit.FAILED, "internal")
    log = Path(error["log"])
    assert "Traceback" in log.read_text()
    log.unlink()


def test_methods_and_presets(ddctl: Ddctl, service: FakeService) -> None:
    schema = {"properties": {"lr_img": {"default": 1.0, "description": "Learning rate of the images."}}}
    dm = {
        "name": "dm", "kind": "method", "title": "Distribution matching", "citation": "Zhao", "cost": "light",
        "parameters": schema, "departures": ["From 100 images on published is 10.", "And another."],
    }  # fmt: skip
    published = {"accuracy": 48.9, "std": 0.6, "tolerance": 1.5, "reading": "in_the_source", "source": "Zhao 2023"}
    measured = {"accuracy": 87.7, "command": "run q"}
    presets = [
        {"name": "p", "title": "t", "published": published, "job": {"method": "dm", "dataset": "digits"}},
        {"name": "q", "measured": measured, "job": {"method": {"name": "idm"}, "dataset": "digits"}},
    ]
    service.on("GET", "/v1/methods", {"data": [dm]})
    service.on("GET", "/v1/presets", {"data": presets})
    assert "Distribution matching" in ddctl("methods")[1]
    assert json.loads(ddctl("methods", "dm", "--json")[1])["kind"] == "method"
    assert "Learning rate of the images." in ddctl("methods", "dm")[1]
    lines = [line.rstrip() for line in ddctl("methods", "dm")[1].splitlines()]
    assert lines[-3:] == [
        "Where a default is not the published setting:", "- From 100 images on published is 10.", "- And another.",
    ]  # fmt: skip
    assert "did you mean 'dm'?" in ddctl("methods", "ddm")[2]
    shown = ddctl("presets")[1]
    assert all(part in shown for part in ("published", "measured here", "48.9 ± 0.6 %", "Zhao 2023", "87.7 % (run q)"))
    assert len(json.loads(ddctl("presets", "--json")[1])) == 2
    assert [one["name"] for one in json.loads(ddctl("presets", "--method", "idm", "--json")[1])] == ["q"]
    assert (
        "no preset has method 'imd', did you mean 'idm'?; there are: dm, idm" in ddctl("presets", "--method", "imd")[2]
    )


def test_alerts_name_the_study_or_the_job(ddctl: Ddctl, service: FakeService) -> None:
    about = {"level": "warning", "at": "2026-11-29T00:00:00Z", "data": {}, "job_id": JOB_ID}
    of_job = {**about, "id": "evt_1", "study_id": None, "rule": "plateau", "message": "the loss is flat"}
    of_study = {**about, "id": "evt_2", "study_id": "study_1", "rule": "study_finished", "message": "it has failed"}
    service.on("GET", "/v1/alerts", {"object": "list", "data": [of_job, of_study]})
    _, out, _ = ddctl("alerts", "--since", "1h")
    heading, first, second = out.splitlines()
    assert heading.split() == ["at", "of", "rule", "what"]
    assert first.split()[1:3] == [JOB_ID, "plateau"]
    assert second.split()[1:3] == ["study_1", "study_finished"]


def test_a_log_cannot_act_on_the_terminal(ddctl: Ddctl, service: FakeService) -> None:
    text = "#1 output  \x1b]0;title\x07 \x9b31m \u202e\n#1 output  Ä\n".encode()
    service.on("GET", f"{PATH}/log", httpx.Response(200, content=text, headers={"Log-Length": "9"}))
    assert ddctl("logs", JOB_ID)[1] == "#1 output  \\x1b]0;title\\x07 \\x9b31m \\u202e\n#1 output  Ä\n"
    service.on("GET", PATH, job_document(), job_document("succeeded", version=2))
    more = httpx.Response(206, content=b"more\n", headers={"Log-Length": "14"})
    service.on("GET", f"{PATH}/log", httpx.Response(200, content=b"one\ntwo\n", headers={"Log-Length": "9"}), more)
    assert ddctl("logs", JOB_ID, "-f", "--tail", "2")[1] == "one\ntwo\nmore\n"
    asked = [request for request in service.requests if request.url.path.endswith("/log")]
    assert [(r.url.params.get("tail"), r.headers.get("Range")) for r in asked[1:]] == [("2", None), (None, "bytes=9-")]


def test_login_prints_a_link(ddctl: Ddctl, service: FakeService) -> None:
    service.on("POST", "/v1/login-links", {"url": "http://service.test/login?token=once", "expires_in_s": 300})
    assert ddctl("login")[1] == "http://service.test/login?token=once\n"


def test_version(ddctl: Ddctl) -> None:
    assert ddctl("version")[1].count(".") == 2
    assert set(json.loads(ddctl("version", "--json")[1])) == {"version"}


def test_without_arguments_the_help_comes(ddctl: Ddctl) -> None:
    status, out, err = ddctl()
    assert (status, err) == (Exit.BAD_INPUT, "")
    assert "Exit status: 0 succeeded" in out


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["version", "list --columns nope --json"])
def test_a_reader_that_goes_away_gets_no_trace(words: str, unbuffered: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "ddclient.cli", *words.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (Exit.FAILED, "")


def test_a_report_goes_to_standard_output_or_into_a_file(ddctl: Ddctl, service: FakeService, tmp_path: Path) -> None:
    service.on("GET", f"{PATH}/report", httpx.Response(200, html="<!doctype html><p>Bär</p>"))
    assert ddctl("report", JOB_ID) == (0, "<!doctype html><p>Bär</p>\n", "")
    target = tmp_path / "report.html"
    assert ddctl("report", JOB_ID, "-o", str(target)) == (0, "", f"the report is in {target}\n")
    assert target.read_text("utf-8") == "<!doctype html><p>Bär</p>"


def test_a_job_without_a_result_has_no_report(ddctl: Ddctl, service: FakeService) -> None:
    detail = {"title": "Not found", "status": 404, "detail": f"job {JOB_ID} is running and has no result to report"}
    service.on("GET", f"{PATH}/report", httpx.Response(404, json=detail))
    status, out, said = ddctl("report", JOB_ID)
    assert (status, out) == (Exit.REFUSED, "")
    assert "has no result to report" in said
