"""Every operation of the REST API has a command, and every command that talks to it stands for one."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np

from app.core.settings import Settings
from app.main import create_app
from ddclient import cli
from ddclient.errors import Exit
from tests.contract.conftest import TINY, Ddctl

JOB, SET, STUDY = "/v1/jobs/{job_id}", "/v1/datasets/{dataset_id}", "/v1/studies/{study_id}"
HOOK, SCORE = "/v1/webhooks/{webhook_id}", "/v1/scores/{score_id}"
COMMANDS: dict[str, tuple[str, ...]] = {
    "submit": ("post /v1/jobs",),
    "validate": ("post /v1/jobs:validate",),
    "list": ("get /v1/jobs",),
    "get": (f"get {JOB}", f"get {JOB}/bundle.zip"),
    "watch": (f"get {JOB}",),
    "edit": (f"patch {JOB}",),
    "delete": (f"delete {JOB}",),
    "cancel": (f"post {JOB}:cancel",),
    "pause": (f"post {JOB}:pause",),
    "resume": (f"post {JOB}:resume",),
    "retry": (f"post {JOB}:retry",),
    "clone": (f"post {JOB}:clone",),
    "rerun": (f"post {JOB}:rerun",),
    "extend": (f"post {JOB}:extend",),
    "events": (f"get {JOB}/events", f"get {JOB}/events:stream", "get /v1/events:stream"),
    "alerts": ("get /v1/alerts",),
    "logs": (f"get {JOB}/log",),
    "metrics": (f"get {JOB}/metrics", f"get {JOB}/metrics:query"),
    "compare": (
        "get /v1/jobs:compare", "get /v1/jobs:compare.csv", "get /v1/metrics:bands", "get /v1/metrics:compare",
    ),
    "report": (f"get {JOB}/report",),
    "artifacts": (
        f"get {JOB}/artifacts", "get /v1/artifacts/{artifact_id}/content", f"get {JOB}/preview.png",
        "get /v1/artifacts/{artifact_id}/preview.png",
    ),
    "datasets add": ("post /v1/datasets", f"put {SET}/content"),
    "datasets list": ("get /v1/datasets",),
    "datasets show": (f"get {SET}", f"get {SET}/report", f"get {SET}/samples.png"),
    "datasets ingest": (f"post {SET}:ingest",),
    "datasets export": (f"get {SET}/files", f"get {SET}/files/{{name}}"),
    "datasets rm": (f"delete {SET}",),
    "score": ("post /v1/scores", f"put {SCORE}/content"),
    "scores list": ("get /v1/scores",),
    "scores show": (f"get {SCORE}",),
    "scores cancel": (f"post {SCORE}:cancel",),
    "scores delete": (f"delete {SCORE}",),
    "leaderboard": ("get /v1/leaderboard",),
    "auto": ("post /v1/studies", "post /v1/studies:validate"),
    "study create": ("post /v1/studies", "post /v1/studies:validate"),
    "study validate": ("post /v1/studies:validate",),
    "study list": ("get /v1/studies",),
    "study show": (f"get {STUDY}",),
    "study watch": (f"get {STUDY}",),
    "study pause": (f"post {STUDY}:pause",),
    "study resume": (f"post {STUDY}:resume",),
    "study cancel": (f"post {STUDY}:cancel",),
    "study delete": (f"delete {STUDY}",),
    "methods": ("get /v1/methods",),
    "regularizers": ("get /v1/regularizers",),
    "networks": ("get /v1/networks",),
    "decoders": ("get /v1/decoders",),
    "samplers": ("get /v1/samplers",),
    "presets": ("get /v1/presets", "get /v1/presets/{name}"),
    "readings": ("get /v1/readings",),
    "keys list": ("get /v1/api-keys",),
    "keys create": ("post /v1/api-keys",),
    "keys rotate": ("post /v1/api-keys/{key_id}:rotate",),
    "keys revoke": ("delete /v1/api-keys/{key_id}",),
    "tenants create": ("post /v1/tenants",),
    "tenants list": ("get /v1/tenants",),
    "tenants show": ("get /v1/tenants/{tenant_id}",),
    "tenants set": ("patch /v1/tenants/{tenant_id}",),
    "members add": ("post /v1/members",),
    "members list": ("get /v1/members",),
    "members show": ("get /v1/members/{member_id}",),
    "members set": ("patch /v1/members/{member_id}",),
    "webhooks create": ("post /v1/webhooks",),
    "webhooks list": ("get /v1/webhooks",),
    "webhooks show": (f"get {HOOK}",),
    "webhooks set": (f"patch {HOOK}",),
    "webhooks rm": (f"delete {HOOK}",),
    "webhooks rotate": (f"post {HOOK}:rotate",),
    "webhooks test": (f"post {HOOK}:test",),
    "webhooks deliveries": (f"get {HOOK}/deliveries",),
    "webhooks delivery": (f"get {HOOK}/deliveries/{{delivery_id}}",),
    "webhooks redeliver": (f"post {HOOK}/deliveries/{{delivery_id}}:redeliver",),
    "members rm": ("delete /v1/members/{member_id}",),
    "audit": ("get /v1/audit",),
    "usage": ("get /v1/usage", "get /v1/tenants/{tenant_id}/usage"),
    "whoami": ("get /v1/me",),
    "login": ("post /v1/login-links",),
    "workers": (
        "get /v1/workers", "post /v1/workers/{worker_id}:cordon", "post /v1/workers/{worker_id}:drain",
        "post /v1/workers/{worker_id}:uncordon",
    ),
    "checkpoints": (f"get {JOB}/checkpoints",),
    "doctor": ("get /healthz", "get /readyz"),
    "problems": ("get /problems", "get /problems/{code}"),
}  # fmt: skip
"""Command: the operations of the API that it stands for."""
ON_THIS_MACHINE = {
    "up", "demo", "api", "worker", "migrate", "run", "train-on", "version", "keys recover", "fsck",
}  # fmt: skip
"""Commands that start the service, repair it, or do without one."""


def commands() -> set[str]:
    found = {command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    for group in cli.app.registered_groups:
        inner = group.typer_instance.registered_commands if group.typer_instance else []
        found |= {f"{group.name} {one.name or one.callback.__name__}" for one in inner if one.callback}
    return found


def test_each_operation_has_a_command_and_each_command_an_operation(tmp_path: Path) -> None:
    paths = create_app(Settings(home=tmp_path)).openapi()["paths"]
    operations = {f"{method} {path}" for path, methods in paths.items() for method in methods}
    assert {operation for named in COMMANDS.values() for operation in named} == operations
    assert COMMANDS.keys() | ON_THIS_MACHINE == commands()


def test_a_job_from_its_submission_to_its_removal(ddctl: Ddctl, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(json.dumps(TINY | {"ipc": 2}))
    job_id = ddctl("submit", "--spec", str(tmp_path / "job.json")).strip()

    followed = ddctl("logs", job_id, "-f").splitlines()
    assert all(re.match(r"20\d\d-[\d:T.-]+Z #1 (worker|phase|info|output) ", line) for line in followed)
    phases = dict.fromkeys(line.split()[3].rstrip(",") for line in followed if " phase " in line)
    assert list(phases)[:2] == ["loading", "distilling"]
    assert followed[-1].endswith("attempt 1 is over: done; its result is being stored")
    assert ddctl("logs", job_id).splitlines() == followed
    assert ddctl("logs", job_id, "--tail", "2").splitlines() == followed[-2:]
    assert json.loads(ddctl("logs", job_id, "--json"))["lines"] == followed

    (*_, last) = json.loads(ddctl("checkpoints", job_id, "--json"))
    assert last["step"] > 0
    assert last["sha256"][:16] in ddctl("checkpoints", job_id)
    rows = list(csv.DictReader(io.StringIO(ddctl("metrics", job_id, "--csv", "--key", "loss"))))
    assert [int(row["step_min"]) for row in rows] == list(range(1, 21))
    assert "cmi" in ddctl("metrics", job_id)
    assert "has no metric 'los', did you mean 'loss'?" in ddctl("metrics", job_id, "--key", "los", status=2)

    out = tmp_path / "out"
    with np.load(ddctl("get", job_id, "--format", "npz", "-o", str(out / "npz")).strip()) as arrays:
        images = arrays["images"]
    assert images.shape == (20, 1, 8, 8)
    ddctl("get", job_id, "--format", "folder", "-o", str(out / "folder"))
    assert len(list((out / "folder").rglob("*.png"))) == 20
    ddctl("get", job_id, "--format", "parquet", "-o", str(out / "parquet"))
    assert [path.suffix for path in (out / "parquet" / "data").iterdir()] == [".parquet"]
    assert "--out" in ddctl("get", job_id, "--format", "npz", status=2)
    ddctl("artifacts", job_id, "--kind", "preview", "-o", str(out / "files"))
    assert [path.name for path in (out / "files").iterdir()] == ["preview.png"]

    again = ddctl("rerun", job_id).strip()
    document = json.loads(ddctl("get", again, "--json"))
    assert (document["parent_id"], document["spec"]["seed"]) == (job_id, 0)
    ddctl("logs", again, "-f")
    with np.load(ddctl("get", again, "--format", "npz", "-o", str(out / "again")).strip()) as arrays:
        assert arrays["images"].tobytes() == images.tobytes()

    copy = ddctl("clone", job_id, "--set", "seed=9", "--set", "method.iterations=100000").strip()
    document = json.loads(ddctl("get", copy, "--json"))
    spec = document["spec"]
    assert (spec["seed"], spec["method"]["iterations"], document["parent_id"]) == (9, 100_000, job_id)
    assert "mine" in ddctl("edit", copy, "--name", "mine", "--label", "team=a")
    assert f"{copy} cancel" in ddctl("cancel", copy, "--keep-result", "--reason", "enough")

    assert ddctl("delete", job_id, "--yes") == f"{job_id} deleted\n"
    assert f"you have no job {job_id}" in ddctl("logs", job_id, status=Exit.REFUSED)


def test_a_tenant_and_its_members(ddctl: Ddctl) -> None:
    made = json.loads(ddctl("tenants", "create", "lab-two", "--name", "Lab two", "--minutes", "100", "--json"))
    assert made["key"]["key"].startswith("dd_")
    assert "lab-two" in ddctl("tenants", "list")
    assert json.loads(ddctl("tenants", "set", "lab-two", "--weight", "2", "--json"))["weight"] == 2
    assert json.loads(ddctl("tenants", "show", "lab-two", "--json"))["max_month_minutes"] == 100
    assert json.loads(ddctl("usage", "--tenant", "lab-two", "--json"))["minutes"] == {"used": 0, "limit": 100}
    assert json.loads(ddctl("tenants", "set", "lab-two", "--hours", "2.5", "--json"))["max_work_hours"] == 2.5
    assert json.loads(ddctl("usage", "--tenant", "lab-two", "--json"))["work_hours"] == {"used": 0, "limit": 2.5}
    assert json.loads(ddctl("tenants", "set", "lab-two", "--unlimited", "hours", "--json"))["max_work_hours"] is None
    assert "minutes" in ddctl("usage")
    assert "hours of work that unfinished jobs need" in ddctl("usage")
    member = json.loads(ddctl("members", "add", "ada@example.org", "--role", "viewer", "--json"))
    assert "ada@example.org" in ddctl("members", "list")
    key = json.loads(ddctl("keys", "create", "hers", "--member", member["id"], "--scope", "jobs:read", "--json"))
    assert key["member_id"] == member["id"]
    assert json.loads(ddctl("members", "set", member["id"], "--disable", "--json"))["disabled_at"]
    assert json.loads(ddctl("members", "show", member["id"], "--json"))["role"] == "viewer"
    assert "member.change" in ddctl("audit", "--action", "member.change")
    assert json.loads(ddctl("audit", "--object", member["id"], "--json"))[0]["action"] == "member.change"
    refused = ddctl("members", "set", member["id"], status=Exit.BAD_INPUT)
    assert "nothing is to be changed" in refused
    assert json.loads(ddctl("members", "set", member["id"], "--unlink", "--json"))["linked"] is False
    assert "are revoked" in ddctl("members", "rm", member["id"])
    assert "you have no member" in ddctl("members", "show", member["id"], status=Exit.REFUSED)
    assert "there is no tenant" in ddctl("tenants", "show", "nobody", status=Exit.REFUSED)


def test_a_webhook_and_its_messages(ddctl: Ddctl) -> None:
    """The service of these tests may not reach loopback, and says so of the attempt. Nothing is taken in meanwhile."""
    made = json.loads(ddctl("webhooks", "create", "https://localhost/", "--event", "ingest.failed", "--json"))
    assert (made["events"], made["secret"][:6]) == (["ingest.failed"], "whsec_")
    assert made["id"] in ddctl("webhooks", "list")
    ddctl("webhooks", "test", made["id"], status=Exit.FAILED)
    changed = json.loads(ddctl("webhooks", "set", made["id"], "--description", "ours", "--event", "ingest.*", "--json"))
    assert (changed["description"], changed["events"]) == ("ours", ["ingest.*"])
    assert "ours" in ddctl("webhooks", "show", made["id"])
    assert json.loads(ddctl("webhooks", "rotate", made["id"], "--json"))["secret"] != made["secret"]
    (message,) = json.loads(ddctl("webhooks", "deliveries", made["id"], "--json"))
    assert message["event"] == "webhook.test"
    assert message["id"] in ddctl("webhooks", "deliveries", made["id"], "--state", "pending")
    shown = ddctl("webhooks", "delivery", made["id"], message["id"])
    assert "localhost:443 is not an address that webhooks may reach" in shown
    assert "nothing has happened" in shown
    assert "sent once more" in ddctl("webhooks", "redeliver", made["id"], message["id"])
    ddctl("webhooks", "set", made["id"], "--disable")
    assert "enable it first" in ddctl("webhooks", "test", made["id"], status=Exit.REFUSED)
    assert "deleted" in ddctl("webhooks", "rm", made["id"])
    assert "you have no webhook" in ddctl("webhooks", "show", made["id"], status=Exit.REFUSED)


def test_keys_and_the_menu(ddctl: Ddctl) -> None:
    made = json.loads(ddctl("keys", "create", "for a test", "--scope", "jobs:read", "--days", "1", "--json"))
    assert made["key"].startswith("dd_")
    assert made["id"] in ddctl("keys", "list")
    rotated = json.loads(ddctl("keys", "rotate", made["id"], "--hours", "1", "--json"))
    assert rotated["key"] != made["key"]
    assert "revoked" in ddctl("keys", "revoke", made["id"])
    assert "there is no API key 'key_nobody'" in ddctl("keys", "revoke", "key_nobody", status=2)
    assert ddctl("keys", "recover").startswith("dd_")
    assert "there is no tenant 'nobody'" in ddctl("keys", "recover", "--tenant", "nobody", status=1)
    assert "everything that is needed is there" in ddctl("fsck") or "unused" in ddctl("fsck")
    assert "tenant default" in ddctl("whoami")
    (worker,) = json.loads(ddctl("workers", "--json"))
    assert json.loads(ddctl("workers", "--cordon", worker["id"], "--json"))[0]["wanted"] == "cordon"
    assert json.loads(ddctl("workers", "--uncordon", worker["id"], "--json"))[0]["wanted"] == "run"
    assert "no worker wrk_nobody is alive" in ddctl("workers", "--drain", "wrk_nobody", status=Exit.REFUSED)
    assert "idle" in ddctl("workers") or "busy" in ddctl("workers")
    assert "quota_exceeded" in ddctl("problems", "quota_exceeded")
    assert "nats" in ddctl("readings")
    for kind, name in (
        ("networks", "convnet"),
        ("regularizers", "mim"),
        ("decoders", "mosaic"),
        ("samplers", "random"),
    ):
        assert name in ddctl(kind)
        assert ddctl(kind, name)
    names = [one["name"] for one in json.loads(ddctl("presets", "--method", "dm", "--dataset", "digits", "--json"))]
    assert "quick/dm-digits" in names
    assert all("dm" in name for name in names)
    assert json.loads(ddctl("presets", "quick/dm-digits", "--json"))["job"]["dataset"] == "digits"
    assert json.loads(ddctl("presets", "--grep", "ZHAO", "--json"))
    wrong = ddctl("presets", "quick/dm-digit", status=Exit.REFUSED)
    assert len(re.findall("'quick/", wrong)) == 3
    assert wrong.count("quick/dm-digits'") == 1
