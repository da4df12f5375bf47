from __future__ import annotations

import pytest

from app.compare.probes import Probe, probe_of, verdict

SAME = Probe("digits", digest="a" * 64, network="teacher", temperature=0.1)


@pytest.mark.parametrize(
    ("other", "comparable", "words"),
    [
        (SAME, "same", None),
        (Probe("digits", "b" * 64, "teacher", 0.1), "different", "by different probes (aaaaaaaaaaaa, bbbbbbbbbbbb)"),
        (Probe("mnist", None, "teacher", 0.1), "different", "on different datasets (digits, mnist)"),
        (Probe("digits", None, "random", 0.1), "different", "kinds of network (teacher, random)"),
        (Probe("digits", None, "teacher", 0.5), "different", "at different temperatures (0.1, 0.5)"),
        (Probe("digits", None, "teacher", 0.1), "unknown", "of 1 of 2 jobs not"),
        (Probe("digits"), "unknown", "may not compare"),
    ],
)
def test_only_readings_of_one_probe_compare(other: Probe, comparable: str, words: str | None) -> None:
    found = verdict([SAME, other])
    assert found.comparable == comparable
    assert (found.reason is None) if words is None else (words in str(found.reason))


def test_readings_of_one_job_compare_with_themselves() -> None:
    assert verdict([Probe("digits")]).comparable == "same"


def test_a_job_under_way_has_the_probe_that_it_asks_for() -> None:
    spec = {"dataset": "digits", "metrics": {"probe": "random"}}
    assert probe_of(spec, None) == Probe("digits", network="random")
    assert probe_of(spec, {"probe": {"network": "teacher", "digest": "d"}}) == Probe("digits", "d", "teacher")
    assert probe_of({"dataset": "digits", "metrics": {"probe": "auto"}}, {"probe": None}) == Probe("digits")
