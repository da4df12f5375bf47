from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ddcore.spec import DATASETS, SpecError, parse
from ddcore.spec.ingest import DatasetReport, IngestOptions
from ddcore.spec.local_sets import STORED_FORMAT, certain_facts_of, facts_of, names_in, places_of, report_in, usual_name


def report(name: str, smallest: int = 7, **fields: Any) -> DatasetReport:
    counts = {"cat": smallest, "dog": 30}
    return DatasetReport.model_validate(
        {
            "id": "ds_" + "0" * 20, "digest": "0" * 64, "name": name, "layout": "class folders", "why": "it has some",
            "options": IngestOptions().model_dump(), "shape": (3, 48, 64), "classes": list(counts),
            "splits": {
                "train": {"images": sum(counts.values()), "per_class": counts},
                "test": {"images": 4, "per_class": {"cat": 2, "dog": 2}},
            },
            "sizes": [], "distinct_sizes": 1, "modes": {"RGB": 41}, "levels": None, "mean": [0.1, 0.2, 0.3],
            "std": [0.1, 0.1, 0.1], "constant_channels": [], "unreadable": [], "unlabelled": 0, "ignored": {},
            "duplicates": {
                "within_classes": 0, "contradictory": 0, "leaked": 0, "near_within_classes": 0,
                "near_contradictory": 0, "near_leaked": 0,
            },
            "largest_ipc": [{"kind": "starting from real images", "most": smallest}], "remarks": [], **fields,
        }
    )  # fmt: skip


def keep(root: Path, name: str, stored_format: int = STORED_FORMAT, **fields: Any) -> None:
    (root / name).mkdir()
    document = {"format": stored_format, "report": report(name, **fields).model_dump(mode="json")}
    (root / name / "dataset.json").write_text(json.dumps(document))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    keep(tmp_path, "photos")
    keep(tmp_path, "digits")
    (tmp_path / "cifar10").mkdir()
    (tmp_path / ".hidden").mkdir()
    for file in ("packed.tar.gz", "arrays.npz", "notes.txt", ".part.npz"):
        (tmp_path / file).touch()
    return tmp_path


def test_folders_and_files_are_sets_by_their_names(root: Path) -> None:
    assert names_in(root) == ("arrays", "cifar10", "digits", "packed", "photos")
    assert places_of("packed", root) == [root / "packed.tar.gz"]
    assert places_of("photos", root) == [root / "photos"]
    assert places_of("notes", root) == places_of("nothing", root) == []
    assert names_in(root / "absent") == ()


def test_a_set_that_was_taken_in_is_known_by_its_report(root: Path) -> None:
    facts = certain_facts_of("photos", root)
    assert facts is not None
    assert (facts.shape, facts.classes, facts.train_size, facts.smallest_class, facts.test_size, facts.flip) == (
        (3, 48, 64), ("cat", "dog"), 37, 7, 4, False,
    )  # fmt: skip
    assert report_in(root / "photos") == report("photos")


def test_a_report_goes_before_what_is_published_of_a_name(root: Path) -> None:
    assert facts_of("digits", root) != DATASETS["digits"]
    assert facts_of("mnist", root) == certain_facts_of("mnist", root) == DATASETS["mnist"]


def test_files_that_nobody_has_looked_at_are_presumed_to_be_what_they_are_called_but_not_for_certain(
    root: Path,
) -> None:
    assert facts_of("cifar10", root) == DATASETS["cifar10"]
    assert certain_facts_of("cifar10", root) is None
    assert facts_of("arrays", root) is None


@pytest.mark.parametrize("damage", ["{", "[]", '{"format": 3}', '{"format": 3, "report": {}}', None])
def test_what_is_damaged_or_of_another_version_is_unknown(tmp_path: Path, damage: str | None) -> None:
    if damage is None:
        keep(tmp_path, "old", stored_format=2)
    else:
        (tmp_path / "old").mkdir()
        (tmp_path / "old" / "dataset.json").write_text(damage)
    assert report_in(tmp_path / "old") is None
    assert facts_of("old", tmp_path) is None


def test_a_job_is_refused_by_what_is_certain(root: Path) -> None:
    def known(name: str) -> Any:
        return certain_facts_of(name, root)

    with pytest.raises(SpecError, match=r"the smallest class of photos has 7 training images .*choose 1 to 7"):
        parse({"dataset": "photos", "method": "random", "ipc": 8}, known)
    with pytest.raises(SpecError, match="the smallest class of digits has 7"):
        parse({"dataset": "digits", "method": "random", "ipc": 8}, known)
    assert parse({"dataset": "cifar10", "method": "random", "ipc": 9999}, known).ipc == 9999


def test_budgets_and_defaults_follow_the_real_sizes(root: Path) -> None:
    """Bases take 64 x 48 / 4 pixels of three channels each here, and a budget of 2 x 1 such images holds no more."""

    def known(name: str) -> Any:
        return certain_facts_of(name, root)

    memory = {"dataset": "photos", "method": "bptt", "ipc": 1, "init": "noise"}
    with pytest.raises(SpecError, match=r"`decoder.bases` is 64: .*use at most 7 bases"):
        parse({**memory, "decoder": {"name": "addressed", "bases": 64}}, known)
    fitting = {**memory, "decoder": {"name": "addressed", "bases": 4}}
    spec, unknown = parse(fitting, known), parse(fitting)
    assert (spec.images_per_class, unknown.images_per_class) == ((2 * 9216 - 4 * 9216 // 4) // (2 * 4), 1)
    assert spec == unknown
    assert spec.model_dump() == unknown.model_dump()
    assert spec.model_copy(update={"seed": 1}).images_per_class == spec.images_per_class


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("My photos", "My-photos"),
        ("pets.tar.gz", "pets"),
        ("pets.npz", "pets"),
        ("Tiere: süß!", "Tiere-süß"),
        ("x" * 120, "x" * 100),
    ],
)
def test_names_follow_the_files(tmp_path: Path, place: str, name: str) -> None:
    (tmp_path / place).touch() if "." in place else (tmp_path / place).mkdir()
    assert usual_name(tmp_path / place) == name


def test_a_report_that_changes_is_read_again(tmp_path: Path) -> None:
    keep(tmp_path, "photos", smallest=7)
    assert report_in(tmp_path / "photos") is report_in(tmp_path / "photos")
    (tmp_path / "photos" / "dataset.json").unlink()
    assert report_in(tmp_path / "photos") is None
    (tmp_path / "photos").rmdir()
    keep(tmp_path, "photos", smallest=9)
    found = report_in(tmp_path / "photos")
    assert found is not None
    assert found.smallest_class == 9
