"""The catalogue knows what jobs report, and the pages say what the catalogue does."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ddcore.spec import REGULARIZERS
from ddcore.spec import readings as module
from ddcore.spec.readings import EVERY_JOB, Reading, announce, catalogue, known

PAGE = Path(__file__).parents[3] / "docs" / "methods.md"


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings that a test announces are gone after it."""
    monkeypatch.setattr(module, "_KNOWN", dict(module._KNOWN))


def test_the_bound_ends_at_the_logarithm_of_the_classes() -> None:
    bound = catalogue()["mi_lower_bound"]
    assert bound.unit == "nats"
    assert bound.ceiling_with(100) == math.log(100)
    assert bound.ceiling_text(100) == "log 100"
    assert bound.ceiling_with(None) is None
    assert bound.ceiling_text(None) == ""


def test_a_ceiling_can_be_a_number_or_none() -> None:
    assert [catalogue()[name].ceiling_with(10) for name in ("queue/accuracy", "loss")] == [100, None]
    assert catalogue()["queue/accuracy"].ceiling_text(10) == ""


@pytest.mark.parametrize("name", EVERY_JOB)
def test_what_every_job_reports_is_known(name: str) -> None:
    assert catalogue()[name].name == name


@pytest.mark.parametrize("name", sorted(REGULARIZERS))
def test_each_regularizer_has_a_loss_and_a_strength(name: str) -> None:
    assert REGULARIZERS[name].title in catalogue()[f"loss/{name}"].title
    assert REGULARIZERS[name].title in catalogue()[f"weight/{name}"].title


def test_a_regularizer_from_elsewhere_follows_the_rule() -> None:
    loss, weight = known("loss/total_variation"), known("weight/total_variation")
    assert loss is not None
    assert (loss.title, loss.better) == ("total_variation", "lower")
    assert weight is not None
    assert weight.floor == 0


@pytest.mark.parametrize("name", ["sharpness", "loss/", "loss/A b", "losses/cmi", "weight/cmi/x", "lr/cmi"])
def test_others_are_unknown(name: str) -> None:
    assert known(name) is None
    assert name not in catalogue()


def test_a_third_party_can_add_one() -> None:
    sharpness = announce(Reading(name="sharpness", title="Sharpness", label="sharpness", made_by="A toy."))
    assert known("sharpness") is catalogue()["sharpness"] is sharpness
    assert announce(sharpness) is sharpness
    with pytest.raises(ValueError, match="'loss' is already known as 'Loss'"):
        announce(Reading(name="loss", title="Another", label="loss", made_by="A toy."))


def bound(value: float | str | None) -> str:
    return f"{value:g}" if isinstance(value, float) else value or ""


def rows() -> Iterator[str]:
    """The table of the page: what is announced, and the rule for regularisers."""
    yield "| reading | what | unit | at least | at most | better | made by |"
    yield "|---|---|---|---|---|---|---|"
    of_terms = {f"{part}/{name}" for name in REGULARIZERS for part in ("loss", "weight")}
    rule = [known(f"{part}/NAME".lower()) for part in ("loss", "weight")]
    for reading in [*(r for name, r in catalogue().items() if name not in of_terms), *(r for r in rule if r)]:
        bounds = [bound(reading.floor), bound(reading.ceiling)]
        cells = [
            f"`{reading.name}`",
            reading.title,
            reading.unit,
            *bounds,
            reading.better or "",
            reading.made_by.replace("|", r"\|"),
        ]
        yield re.sub(r"\bname\b", "NAME", f"| {' | '.join(cells)} |")


def test_the_page_has_the_catalogue() -> None:
    assert "\n".join(rows()) in PAGE.read_text("utf-8")
