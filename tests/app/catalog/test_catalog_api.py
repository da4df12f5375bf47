from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from ddcore.spec import DATASETS, DECODERS, METHODS, NETWORKS, REGULARIZERS, all_presets
from ddcore.spec.catalog import Component
from ddcore.spec.readings import catalogue

if TYPE_CHECKING:
    from tests.app.conftest import Api


@pytest.mark.parametrize(
    ("kind", "catalog"),
    [("method", METHODS), ("regularizer", REGULARIZERS), ("network", NETWORKS), ("decoder", DECODERS)],
)
def test_components_carry_what_a_form_needs(api: Api, kind: str, catalog: Mapping[str, type[Component]]) -> None:
    found = {item["name"]: item for item in api.get(f"/v1/{kind}s").json()["data"]}
    assert set(found) == set(catalog)
    for name, item in found.items():
        assert item["kind"] == kind
        assert item["title"]
        assert item["citation"]
        assert item["cost"]
        assert item["description"]
        assert set(item["parameters"]["properties"]) == set(catalog[name].model_fields)
        assert item["defaults"]["name"] == name
        assert item["departures"] == list(catalog[name].departures)


def test_defaults_of_a_method_make_a_job(api: Api) -> None:
    for item in api.get("/v1/methods").json()["data"]:
        body = {"dataset": "digits", "ipc": 2, "method": item["defaults"]}
        assert api.post("/v1/jobs:validate", json=body).status_code == 200, item["name"]


def test_every_preset_is_a_valid_job(api: Api) -> None:
    listed = api.get("/v1/presets").json()["data"]
    assert {item["name"] for item in listed} == set(all_presets())
    for item in listed:
        assert api.get(f"/v1/presets/{item['name']}").json() == item
        assert api.post("/v1/jobs:validate", json={"preset": item["name"]}).status_code == 200, item["name"]


def test_unknown_preset_names_the_nearest(api: Api) -> None:
    response = api.get("/v1/presets/paper/dm-cifar10-ipc11")
    assert response.status_code == 404
    assert "paper/dm-cifar10-ipc1" in response.json()["detail"]


def test_datasets_are_the_built_in_ones_and_the_folders(api: Api) -> None:
    (api.settings.data_root / "my_birds").mkdir(parents=True)
    (api.settings.data_root / "cifar10").mkdir()
    (api.settings.data_root / ".hidden").mkdir()
    (api.settings.data_root / "notes.txt").touch()
    found = {item["name"]: item for item in api.get("/v1/datasets").json()["data"]}
    assert set(found) == {*DATASETS, "my_birds"}
    assert {name for name, item in found.items() if item["local"]} == {"digits", "cifar10", "my_birds"}
    assert found["cifar10"]["shape"] == [3, 32, 32]
    assert not found["my_birds"]["builtin"]


def test_readings_say_how_to_read_a_metric(api: Api) -> None:
    found = {item["name"]: item for item in api.get("/v1/readings").json()["data"]}
    assert list(found) == list(catalogue())
    assert found["mi_lower_bound"] == {
        "name": "mi_lower_bound",
        "title": "Mutual information, lower bound",
        "label": "MI bound",
        "unit": "nats",
        "floor": None,
        "ceiling": "log classes",
        "better": "higher",
        "made_by": "The probe: an InfoNCE bound between a synthetic image and a real one of its class.",
    }
    assert all(item["title"] and item["made_by"] for item in found.values())
