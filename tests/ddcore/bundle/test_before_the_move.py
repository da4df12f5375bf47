"""A bundle of version 0.1.0 can be read and trained on."""

from __future__ import annotations

import json
from pathlib import Path

from ddcore import bundle

BUNDLE = Path(__file__).parents[2] / "fixtures" / "before_the_move" / "bundle"


def test_it_is_read_with_its_results() -> None:
    reported = json.loads((BUNDLE / "manifest.json").read_text("utf-8"))["results"]
    content = bundle.read(BUNDLE)
    assert json.dumps(dict(content.results)) == json.dumps(reported)
    assert content.results.accuracy is not None
    assert content.results.accuracy.mean == reported["accuracy"]["mean"]


def test_networks_learn_from_it_by_its_recipe(tmp_path: Path) -> None:
    reported = bundle.read(BUNDLE).results
    found = bundle.train_on(BUNDLE, cache=tmp_path)
    assert set(found) - {"differences"} == set(reported) - {"steps", "probe"}
    assert found.protocol == reported.protocol
    assert [entry.network for entry in found.architectures] == [entry.network for entry in reported.architectures]
    assert found.accuracy is not None
    assert found.accuracy.networks == 2
