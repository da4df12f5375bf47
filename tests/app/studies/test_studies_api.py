"""Studies over HTTP, on both databases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from app.core.ids import pattern

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")


def make(api: Api, study: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A study that has to be accepted; its document."""
    response = api.post("/v1/studies", json={**study, **fields})
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json()
    return document


class TestCreate:
    def test_answers_with_the_study(self, api: Api, study: dict[str, Any]) -> None:
        response = api.post("/v1/studies", json={**study, "name": "first", "labels": {"team": "a"}})
        assert response.status_code == 201, response.text
        made = response.json()
        assert re.match(pattern("study"), made["id"])
        assert response.headers["location"] == f"/v1/studies/{made['id']}" == made["links"]["self"]
        assert response.headers["etag"] == f'"{made["version"]}"'
        assert (made["status"], made["name"], made["labels"]) == ("running", "first", {"team": "a"})
        assert [trial["title"] for trial in made["trials"]][:3] == [
            "ipc 1, lr_img 0.5",
            "ipc 1, lr_img 1.5",
            "ipc 2, lr_img 0.5",
        ]
        assert {trial["status"] for trial in made["trials"]} == {"waiting"}
        assert [rung["share"] for rung in made["rungs"]] == [1 / 9, 1 / 3, 1]
        assert made["full_grid_steps"] == 54
        assert api.get(made["links"]["self"]).json() == made
