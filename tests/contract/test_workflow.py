"""The workflow file leaves everything to ``.ci/run``, and the hooks use tools that ``make install`` brings."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from tests.contract.conftest import ROOT

FETCHES = "actions/checkout@"
"""The one step that ``.ci/run`` cannot do, being part of what is fetched."""


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def hooks() -> list[dict[str, Any]]:
    repositories = read(".pre-commit-config.yaml")["repos"]
    return [hook | {"repo": repository["repo"]} for repository in repositories for hook in repository["hooks"]]


def executables(requirement: str) -> Iterator[str]:
    """Names of the commands that a required distribution installs."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    for file in distribution(match[0]).files or ():
        if PurePosixPath(file).parent.name == "bin":
            yield file.name


@pytest.fixture(scope="module")
def provided() -> set[str]:
    """Commands of the distributions that the extra ``dev`` names itself."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    ours = [requirement for requirement in extras["dev"] if not requirement.startswith("ddservice[")]
    return {name for requirement in ours for name in executables(requirement)}


def test_the_workflow_is_one_job_that_calls_ci_run() -> None:
    (job,) = read(".github/workflows/ci.yml")["jobs"].values()
    fetch, run = job["steps"]
    assert list(fetch) == ["uses"]
    assert fetch["uses"].startswith(FETCHES)
    assert run == {"run": ".ci/run"}
    assert job["env"] == {"CI": "true"}
    assert job["timeout-minutes"] == 90
    assert "services" not in job


def test_the_workflow_has_the_oldest_python_that_we_support() -> None:
    (job,) = read(".github/workflows/ci.yml")["jobs"].values()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert job["runs-on"].startswith("ubuntu-")
    assert job["container"]["image"].startswith(f"python:{oldest}-")


def test_ci_run_can_be_executed_and_does_both() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert script.read_text("utf-8").splitlines()[-2:] == ["make check", "make test"]


def test_hooks_come_from_no_other_repository() -> None:
    assert {hook["repo"] for hook in hooks()} == {"local"}
    assert {hook["language"] for hook in hooks()} == {"system"}


@pytest.mark.parametrize("hook", hooks(), ids=lambda hook: hook["id"])
def test_every_hook_is_a_command_that_the_dev_extra_provides(hook: dict[str, Any], provided: set[str]) -> None:
    command = PurePosixPath(shlex.split(hook["entry"])[0])
    assert command.parent == PurePosixPath(".venv/bin")
    assert command.name in provided


def test_what_the_hooks_check_of_the_code_make_check_does_too() -> None:
    checks = set(re.findall(r"^\t\$\(BIN\)/([a-z-]+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    of_files = {"check-added-large-files", "check-toml", "check-yaml", "end-of-file-fixer"}
    assert {PurePosixPath(shlex.split(hook["entry"])[0]).name for hook in hooks()} - of_files <= checks
