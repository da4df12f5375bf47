"""What is added as new files, or installed beside the service, is known everywhere; what is broken is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddcore.spec import METHODS
from tests.contract import toys
from tests.contract.conftest import ROOT

CASES = {
    "grey": "test_contract[grey]",
    "faint": "test_contract[dm+faint]",
    "linear": "test_contract_of_networks[linear]",
    "mirrored": "test_contract_of_decoders[mirrored]",
    "steady": "test_contract_of_samplers[steady]",
}
"""A case of the behaviour suite for each toy."""

JOBS: Mapping[str, Mapping[str, Any]] = {
    "grey": {"method": {"name": "grey", "iterations": 2}},
    "faint": {"regularizers": {"faint": 0.5}},
    "linear": {"network": "linear"},
    "mirrored": {"decoder": "mirrored"},
    "steady": {"sampler": "steady"},
    "dusk": {"dataset": "dusk"},
}
"""What a job says to have each toy."""

ASK = """
import json, logging, sys
from pathlib import Path
home, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
from ddcore import spec
from ddcore.spec import discovery
answers = {"catalogs": {catalog.kind: list(catalog) for catalog in spec.CATALOGS}}
warned = []
class Keep(logging.Handler):
    def emit(self, record):
        warned.append(record.getMessage())
logging.getLogger("app").addHandler(Keep())
from fastapi.testclient import TestClient
from app.core.settings import Settings
from app.main import create_app
with TestClient(create_app(Settings(home=home, auth=False, allowed_hosts=("testserver",)))) as asked:
    for kind in ("methods", "regularizers", "networks", "decoders", "datasets"):
        answers[kind] = [entry["name"] for entry in asked.get(f"/v1/{kind}").json()["data"]]
    answers["validate"] = {name: asked.post("/v1/jobs:validate", json=job).status_code for name, job in jobs.items()}
    answers["dashboard"] = asked.get("/?method=dm").text
    from ddclient import Client, cli
    from ddclient.commands import catalog
    import httpx
    answer = httpx.MockTransport(lambda request: httpx.Response(200, content=asked.get(request.url.path).content))
    catalog.Client = lambda: Client("http://testserver", transport=answer)
    from typer.testing import CliRunner
    kinds = ("methods", "regularizers", "decoders")
    answers["ddctl"] = "".join(CliRunner().invoke(cli.app, [kind, "--json"]).stdout for kind in kinds)
answers["warned"], answers["torch"] = warned, "torch" in sys.modules
from ddcore import run
from ddcore.errors import DistillationError
answers["ran"] = {}
for name, job in jobs.items():
    place = home / name
    try:
        run(spec.parse(job), place / "out", run_dir=place / "run", data_root=home / "data", cache=home / "cache")
        answers["ran"][name] = (place / "out" / "distilled.safetensors").exists()
    except DistillationError as error:
        answers["ran"][name] = str(error)
answers["refused"] = {}
for name in ("absent", "dm", "half", "odd", "other", "grye"):
    try:
        spec.parse({"dataset": "digits", "ipc": 1, "method": {"name": name, "iterations": 1, "colour": 1}})
    except spec.SpecError as error:
        answers["refused"][name] = str(error)
from ddclient import doctor
finding = doctor._extensions()
answers["doctor"] = [finding.verdict, finding.text]
print(json.dumps(answers))
"""


def ask(home: Path, cwd: Path, path: tuple[Path, ...], names: tuple[str, ...]) -> dict[str, Any]:
    """What the engine, the service, the client and the doctor say in a process of their own."""
    (home / "data" / "dusk").mkdir(parents=True)
    pixels = np.tile(np.array([40, 200], dtype=np.uint8), 20)[:, None, None] + np.zeros((40, 8, 8), np.uint8)
    pixels[:, ::2] += 20
    np.savez(home / "data" / "dusk" / "dusk.npz", train=pixels, test=pixels)
    plain = {
        "dataset": "digits",
        "ipc": 1,
        "method": {"name": "dm", "iterations": 2, "batch_real": 8},
        "network": {"name": "convnet", "width": 4},
        "metrics": {"probe": "random"},
        "evaluation": {"repeats": 0, "audit": False},
    }
    jobs = {name: {**plain, **JOBS.get(name, {"method": {"name": name, "iterations": 1}})} for name in names}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(home), json.dumps(jobs)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree with the toys added, as new files only."""
    copy = tmp_path_factory.mktemp("tree")
    for folder in ("ddcore", "app", "ddclient", "migrations"):
        # What Python keeps of the modules comes and goes with the processes of other tests.
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    suite = ("compiler", "conftest", "recorder", "watching", "test_contract")
    for file in ("pyproject.toml", "tests/conftest.py", *(f"tests/ddcore/{name}.py" for name in suite)):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, copy / file)
    toys.put_into(copy / "ddcore")
    return copy


@pytest.fixture(scope="module")
def added(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return ask(tmp_path_factory.mktemp("added"), tree, (tree,), tuple(JOBS))


@pytest.fixture(scope="module")
def suite(tree: Path) -> str:
    """What the behaviour suite says of the toys' cases."""
    cases = [f"tests/ddcore/test_contract.py::{case}" for case in CASES.values()]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *cases],
        cwd=tree,
        env=environment | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """With the toys, and broken distributions beside them, installed in a folder on the path."""
    site, last = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("damaged")
    toys.install(site)
    toys.install_broken(site)
    toys.install_damaged(last)
    return ask(tmp_path_factory.mktemp("installed"), ROOT, (ROOT, site, last), (*JOBS, "dull"))


@pytest.fixture(params=["added", "installed"])
def answers(request: pytest.FixtureRequest) -> dict[str, Any]:
    """With the toys as new files, and as a distribution that joins by entry points."""
    found: dict[str, Any] = request.getfixturevalue(request.param)
    return found


def test_a_method(answers: dict[str, Any]) -> None:
    assert answers["catalogs"]["method"][-1] in ("grey", "dull")
    assert "grey" in answers["methods"]
    assert '"grey"' in answers["ddctl"]
    assert "<option>grey</option>" in answers["dashboard"]
    assert (answers["validate"]["grey"], answers["ran"]["grey"]) == (200, True)


def test_a_regulariser(answers: dict[str, Any]) -> None:
    assert answers["catalogs"]["regulariser"] == ["mim", "cmi", "iid", "bacon", "faint"]
    assert answers["regularizers"][-1] == "faint"
    assert '"faint"' in answers["ddctl"]
    assert (answers["validate"]["faint"], answers["ran"]["faint"]) == (200, True)


def test_a_network(answers: dict[str, Any]) -> None:
    assert answers["networks"] == answers["catalogs"]["network"]
    assert answers["networks"] == ["convnet", "resnet18", "mlp", "lenet", "alexnet", "vgg11", "linear"]
    assert (answers["validate"]["linear"], answers["ran"]["linear"]) == (200, True)


def test_a_decoder(answers: dict[str, Any]) -> None:
    assert answers["decoders"] == answers["catalogs"]["decoder"] == ["identity", "mosaic", "addressed", "mirrored"]
    assert '"mirrored"' in answers["ddctl"]
    assert (answers["validate"]["mirrored"], answers["ran"]["mirrored"]) == (200, True)


def test_a_sampler(answers: dict[str, Any]) -> None:
    assert answers["catalogs"]["sampler"] == ["random", "representative", "steady"]
    assert (answers["validate"]["steady"], answers["ran"]["steady"]) == (200, True)


def test_a_reader_of_datasets(answers: dict[str, Any]) -> None:
    assert answers["datasets"][-1] == "dusk"
    assert (answers["validate"]["dusk"], answers["ran"]["dusk"]) == (200, True)


@pytest.mark.parametrize("toy", CASES)
def test_the_behaviour_suite_has_a_case_for_it(suite: str, toy: str) -> None:
    assert f"PASSED tests/ddcore/test_contract.py::{CASES[toy]}" in suite, suite


def test_no_configuration_brings_the_engine_into_the_service(answers: dict[str, Any]) -> None:
    assert answers["torch"] is False


def test_nothing_is_said_where_nothing_is_broken(added: dict[str, Any]) -> None:
    assert added["warned"] == []
    assert added["doctor"] == ["ok", "none"]


REASONS = {
    "`absent` in `ddservice.methods` of dd-broken 1.0": "ModuleNotFoundError: No module named 'dd_broken.nowhere'",
    "`dm` in `ddservice.methods` of dd-broken 1.0": "ValueError: method 'dm' is already registered by DMConfig",
    "`half` in `ddservice.methods` of dd-broken 1.0": "RuntimeError: in the middle",
    "`odd` in `ddservice.methods` of dd-broken 1.0": "TypeError: 42 is no subclass of MethodConfig",
    "`other` in `ddservice.methods` of dd-broken 1.0": "ValueError: the `name` of DullConfig is not 'other'",
    "`entry_points.txt` of dd-damaged 1.0": "",
}
"""What is broken without an engine, and how."""


@pytest.mark.parametrize("what", REASONS)
def test_what_is_broken_is_named_at_the_start_and_by_the_doctor(installed: dict[str, Any], what: str) -> None:
    said = f"entry point {what} is left out: {REASONS[what]}"
    assert [line for line in installed["warned"] if line.startswith(said)], installed["warned"]
    assert installed["doctor"][0] == "warning"
    assert said in installed["doctor"][1]


def test_nothing_else_is_said_at_the_start(installed: dict[str, Any]) -> None:
    assert len(installed["warned"]) == len(REASONS)


def test_what_only_the_engine_loads_is_named_by_the_doctor(installed: dict[str, Any]) -> None:
    text = installed["doctor"][1]
    assert "`dull` in `ddservice.implementations` of dd-broken 1.0 is left out: ModuleNotFoundError" in text
    assert (
        "`tape` in `ddservice.datasets` of dd-broken 1.0 is left out: TypeError: 42 is no class with `sniff` and `read`"
        in text
    )
    for name, group in (("grey", "methods"), ("grey", "implementations"), ("dusk", "datasets"), ("dull", "methods")):
        assert f"{name} (ddservice.{group}, dd-" in text


def test_what_is_broken_takes_nothing_else_along(installed: dict[str, Any]) -> None:
    assert installed["catalogs"]["method"][-2:] == ["dull", "grey"]
    assert set(METHODS) < set(installed["catalogs"]["method"])


def test_asking_for_what_is_missing_says_why(installed: dict[str, Any]) -> None:
    refused = installed["refused"]
    for name, reason in (("absent", "No module named 'dd_broken.nowhere'"), ("half", "in the middle"), ("odd", "42")):
        assert refused[name].startswith(f"/method: unknown method '{name}': dd-broken 1.0 offers it, but ")
        assert reason in refused[name]
    assert refused["grye"].startswith("/method: unknown method 'grye', did you mean 'grey'?")
    assert "colour" in refused["dm"]


def test_a_job_whose_implementation_is_broken_says_so(installed: dict[str, Any]) -> None:
    assert installed["validate"]["dull"] == 200
    said = installed["ran"]["dull"]
    assert said.startswith("nothing implements `dull`")
    assert "`dull` in `ddservice.implementations` of dd-broken 1.0 is left out: ModuleNotFoundError" in said
