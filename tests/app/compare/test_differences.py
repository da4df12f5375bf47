from __future__ import annotations

from typing import Any

from app.compare.differences import differences, kinds, labels
from ddcore.spec import parse


def spec(**fields: Any) -> dict[str, Any]:
    body = {"dataset": "digits", "ipc": 2, "method": {"name": "dm", "iterations": 100}, **fields}
    return parse(body).model_dump(mode="json")


class TestDifferences:
    def test_equal_specifications_do_not_differ(self) -> None:
        assert differences([spec(), spec()]) == []

    def test_a_changed_field_stands_under_its_path(self) -> None:
        found = {one.path: one.values for one in differences([spec(), spec(evaluation={"epochs": 7}), spec(seed=4)])}
        assert found == {"evaluation.epochs": {0: 300, 1: 7, 2: 300}, "seed": {0: 0, 1: 0, 2: 4}}

    def test_a_regulariser_of_one_job_is_one_field(self) -> None:
        found = differences([spec(), spec(regularizers={"cmi": 2000})])
        assert [(one.path, one.values) for one in found] == [("regularizers.cmi", {1: "2000"})]

    def test_strengths_of_a_regulariser_of_all_are_compared(self) -> None:
        found = differences([spec(regularizers={"cmi": 2000}), spec(regularizers={"cmi": 10})])
        assert [(one.path, one.values) for one in found] == [("regularizers.cmi.weight", {0: 2000.0, 1: 10.0})]

    def test_fields_of_another_method_are_not_missing_ones(self) -> None:
        found = {one.path: one.values for one in differences([spec(), spec(method={"name": "mtt", "iterations": 5})])}
        assert found["method.name"] == {0: "dm", 1: "mtt"}
        assert found["method.iterations"] == {0: 100, 1: 5}
        assert "method.syn_steps" not in found


class TestKinds:
    def test_the_seed_makes_no_other_kind(self) -> None:
        assert kinds([spec(seed=1), spec(ipc=3), spec(seed=2)]) == [[0, 2], [1]]

    def test_labels_tell_every_kind_apart(self) -> None:
        found = labels([spec(), spec(whitening=True), spec(whitening=True, evaluation={"epochs": 7}), spec(ipc=3)])
        assert len(set(found)) == 4
        assert found[0] == "dm, ipc 2, evaluation.epochs 300, whitening false"
        assert found[3].startswith("dm, ipc 3")

    def test_what_all_share_is_not_said(self) -> None:
        assert labels([spec(seed=1)]) == ["dm"]
        assert labels([spec(), spec(regularizers={"mim": {"relative": 0.5}})]) == ["dm", "dm + mim 0.5× gradient"]
