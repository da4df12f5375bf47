"""Results keep the JSON that they were written as, and read it by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from ddcore.spec.results import ProbeReport, Results, Score

BEFORE = Path(__file__).parents[2] / "fixtures" / "before_the_move"
SCORE = {"mean": 71.5, "std": 0.5, "networks": 2, "values": [71.0, 72.0]}


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """Results with every part but stages, as a manifest of 0.1.0 holds them."""
    results: dict[str, Any] = json.loads((BEFORE / "bundle" / "manifest.json").read_text("utf-8"))["results"]
    return results


class Document(BaseModel):
    results: Results | None


def test_json_is_written_as_it_was_read(written: dict[str, Any]) -> None:
    results = Results.model_validate(written)
    assert results.model_dump_json() == json.dumps(written, separators=(",", ":"))
    assert json.dumps(dict(results)) == json.dumps(written)
    assert json.loads(Document(results=results).model_dump_json())["results"] == written


def test_the_parts_have_names_and_types(written: dict[str, Any]) -> None:
    results = Results.model_validate(written)
    assert results.accuracy is not None
    assert (results.accuracy.networks, len(results.accuracy.values)) == (2, 2)
    assert results.accuracy.best is not None
    assert [entry.network["name"] for entry in results.by_architecture] == ["convnet", "mlp"]
    assert results.controls["full"] is not None
    assert results.controls["full"].images == 1437
    assert results.protocol is not None
    assert results.protocol.lr_drops is not None
    assert results.protocol.lr_drops.after_passes == (4,)
    assert results.scores["label_robust"].parts.keys() == {"improvement_over_random", "hard_label_recovery"}
    assert results.probe is not None
    assert results.probe.ceiling_nats == math.log(10)
    for model in (results, results.accuracy, results.protocol, results.probe, *results.scores.values()):
        assert not model.model_extra, f"{type(model).__name__} has no field for {model.model_extra}"


def test_what_was_not_set_is_absent_and_what_is_null_stays_null() -> None:
    unscored = Results(accuracy=None, controls={"random": None}, checkpoint="last")
    assert unscored.model_dump_json() == '{"accuracy":null,"controls":{"random":null},"checkpoint":"last"}'
    assert unscored.model_copy(update={"steps": 3})["steps"] == 3
    assert Results().model_dump_json() == "{}"
    assert not Results()


def test_items_are_those_of_the_json() -> None:
    results = Results.model_validate({"accuracy": SCORE, "controls": {"random": SCORE}})
    assert results["accuracy"]["mean"] == results["controls"]["random"]["mean"] == 71.5
    assert json.dumps(results["accuracy"]) == json.dumps(SCORE)
    assert results == {"accuracy": SCORE, "controls": {"random": SCORE}}
    assert {**results} == dict(results)
    assert list(results) == ["accuracy", "controls"]
    assert results.get("probe") is None
    with pytest.raises(KeyError):
        results["probe"]


def test_fields_of_a_newer_version_are_kept() -> None:
    newer = {"accuracy": {**SCORE, "median": 71.4}, "calibration": {"ece": 0.1}}
    assert Results.model_validate(newer) == newer


def test_what_json_has_no_number_for_is_null() -> None:
    probe = ProbeReport(network="teacher", cmi=math.nan, mi_lower_bound=math.inf)
    text = Results(probe=probe).model_dump_json()
    assert text == '{"probe":{"network":"teacher","mi_lower_bound":null,"cmi":null}}'
    assert Results.model_validate_json(text)["probe"] == {"network": "teacher", "mi_lower_bound": None, "cmi": None}


def test_a_score_without_a_mean_is_none() -> None:
    with pytest.raises(ValidationError, match="mean"):
        Score.model_validate({"std": 1.0, "networks": 2})


def test_results_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Results(steps=3).steps = 4  # type: ignore[misc] # read-only: what is tested


def test_the_schema_describes_the_fields() -> None:
    for mode in ("serialization", "validation"):
        schema = Document.model_json_schema(mode=mode)["$defs"]
        assert schema["Results"]["properties"].keys() == Results.model_fields.keys()
        assert schema["Score"]["properties"]["mean"]["description"]
