"""What the documentation names exists."""

from __future__ import annotations

import re

import pytest

from app.core.errors import CODES
from app.core.settings import FROM_FILE, Settings
from ddclient.cli import app as ddctl
from ddcore.data.readers import CHOICES, readers
from ddcore.spec import METHODS
from tests.contract.conftest import ROOT

DECISIONS = tuple(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs/decisions").glob("*.md")))
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/api.md",
    "docs/datasets.md",
    "docs/living.md",
    "docs/methods.md",
    "docs/operations.md",
    "docs/performance.md",
    "docs/scoring.md",
    "docs/studies.md",
    "docs/team.md",
    "docs/webhooks.md",
    *DECISIONS,
)
LINK = re.compile(r"\]\((?!https?:)(?P<path>[^)#]+)")
SETTING = re.compile(r"\bDD_[A-Z_]+\b")
ELSEWHERE = {"DD_URL", "DD_API_KEY", "DD_PUBLISH", "DD_REQUIRE", "DD_TEST_FORKS", "DD_TEST_HUNT_S", "DD_TEST_UPLOAD_GB"}
"""Read by the client, by the compose file and by the tests."""


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    missing = [m["path"] for m in LINK.finditer((ROOT / page).read_text("utf-8")) if not (folder / m["path"]).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_exists(page: str) -> None:
    known = {f"DD_{name.upper()}" for name in Settings.model_fields} | {f"DD_{name.upper()}_FILE" for name in FROM_FILE}
    assert set(SETTING.findall((ROOT / page).read_text("utf-8"))) <= known | ELSEWHERE


def test_every_command_exists() -> None:
    known = {command.name or str(getattr(command.callback, "__name__", "")) for command in ddctl.registered_commands}
    text = "\n".join((ROOT / page).read_text("utf-8") for page in PAGES)
    named = set(re.findall(r"\bddctl ([a-z][a-z-]+)", text))
    groups = {str(group.name): group.typer_instance or ddctl for group in ddctl.registered_groups}
    assert named <= known | groups.keys()
    for name, group in groups.items():
        inner = {one.name or str(getattr(one.callback, "__name__", "")) for one in group.registered_commands}
        assert set(re.findall(rf"\bddctl {name} ([a-z][a-z-]+)", text)) <= inner


def test_the_table_of_methods_says_which_can_go_on_and_which_can_grow() -> None:
    text = (ROOT / "docs/methods.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*`) \| (yes|no) \| (yes|no) \|$", text, re.MULTILINE)
    said = {
        name: (more == "yes", apart == "yes") for names, more, apart in rows for name in re.findall("`(.*?)`", names)
    }
    assert said == {name: (known.extendable, known.classes_apart) for name, known in METHODS.items()}


def test_the_table_of_choices_says_which_readers_heed_them() -> None:
    table = re.findall(r"^\| (`--.*) \| (.*) \|$", (ROOT / "docs/datasets.md").read_text("utf-8"), re.MULTILINE)
    said = {
        option.replace("-", "_"): set(re.findall("`([a-z ]+)`", layouts))
        for options, layouts in table
        for option in re.findall("`--([a-z-]+)`", options.partition(", where")[0].partition(", without")[0])
    }
    ours = {name: cls for name, cls in readers().items() if cls.__module__.startswith("ddcore.")}
    assert said == {choice: {name for name, cls in ours.items() if choice in cls.heeds} for choice in CHOICES}


def test_the_table_of_refusals_is_complete() -> None:
    rows = re.findall(r"^\| ([0-9, ]+) \|", (ROOT / "docs/api.md").read_text("utf-8"), re.MULTILINE)
    listed = {int(status) for row in rows for status in row.split(",")}
    assert listed == {error.status for error in CODES.values()}
