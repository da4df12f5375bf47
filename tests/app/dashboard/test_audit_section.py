"""The section of a job's page about images and their real neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from app.dashboard import mapping
from ddcore.bundle import preview_png
from ddcore.spec import parse
from tests.app.conftest import Api
from tests.app.dashboard.conftest import AUDIT, RESULTS, SPEC, picture
from tests.app.dashboard.page import Page


def page_of(api: Api, job_id: str) -> Page:
    return Page(api.get(f"/jobs/{job_id}"))


def test_it_shows_the_summary_the_picture_the_map_and_the_closest(api: Api, finished: str) -> None:
    page = page_of(api, finished)
    assert "Near copies 1 of 2 at most 0.05 from a real image" in page.text
    assert "linear CKA; random real images 0.93" in page.text
    assert "1 שלום 18 שלום 0.042 near copy 25 %" in page.text
    assert page.text.index("0.042 near copy") < page.text.index("17 שלום 0.101")
    picture = next(a for a in page.all("img") if "nearest real images by pixels" in a["alt"])
    assert api.get(picture["src"]).headers["content-type"] == "image/png"
    assert len([a for a in page.all("path") if a.get("class") == "synthetic"]) == 2
    assert "Map of 6 real and 2 synthetic images" in str(page.all("svg"))


def test_the_neighbours_are_not_taken_for_the_images_of_the_job(api: Api, finished: str) -> None:
    assert api.get(f"/v1/jobs/{finished}/preview.png").content == picture(200)


def test_an_enlarged_image_has_its_nearest_real_one_beside_it(
    api: Api, finished: str, publish_file: Callable[..., str]
) -> None:
    labels = [image.label for image in AUDIT.images]
    sheet = preview_png(torch.zeros(len(labels), 1, 8, 8), torch.tensor(labels), AUDIT.classes)
    preview = publish_file(finished, "preview", "preview.png", sheet, "image/png")
    real = publish_file(finished, "nearest", "nearest.png", sheet, "image/png")
    page = page_of(api, finished)
    known = next(a for a in page.all("ul") if "data-neighbours" in a)
    assert [known[name] for name in ("data-of", "data-sheet")] == [
        f"/v1/artifacts/{artifact}/preview.png" for artifact in (preview, real)
    ]
    assert [a for a in page.all("li") if "data-row" in a] == [
        {"data-row": "17", "data-distance": "0.101"},
        {"data-row": "18", "data-distance": "0.042", "data-copy-of": ""},
    ]


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("running", "The nearest real image is known when the images are finished."),
        ("finished", "The nearest real images are in the file audit.json among the downloads."),
    ],
)
def test_it_says_where_the_nearest_real_image_cannot_be_shown(
    job: str, words: str, api: Api, request: pytest.FixtureRequest
) -> None:
    page = page_of(api, request.getfixturevalue(job))
    assert next(a for a in page.all("ul") if "data-neighbours" in a)["data-none"] == words


def test_names_of_classes_are_text(api: Api, finished: str) -> None:
    answer = api.get(f"/jobs/{finished}").text
    assert "<b>Äpfel" not in answer
    assert "&lt;b&gt;Äpfel&lt;/b&gt;" in answer


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({"real_pixels": True}, "The images consist of pixels of real training images."),
        ({"real_pixels": False}, "submit the job with evaluation.audit : true"),
        (None, "The finished images were not compared with the real ones."),
    ],
)
def test_without_an_audit_it_says_what_is_known(
    results: dict[str, Any] | None, words: str, api: Api, add_job: Callable[..., str]
) -> None:
    kept = {name: value for name, value in RESULTS.items() if name != "audit"}
    spec = parse(SPEC).model_dump(mode="json")
    job_id = add_job(status="succeeded", spec=spec, results=kept | ({"audit": results} if results else {}))
    page = page_of(api, job_id)
    assert words in page.text
    unknown = "The finished images were not compared with the real ones."
    assert next(a for a in page.all("ul") if "data-neighbours" in a)["data-none"] == unknown


def test_a_running_job_has_it_to_come(api: Api, running: str) -> None:
    assert "Comes when the images are finished." in page_of(api, running).text


def test_a_damaged_file_leaves_the_summary(api: Api, finished: str, publish_file: Callable[..., str]) -> None:
    publish_file(finished, "audit", "audit.json", b"{}", "application/json")
    page = page_of(api, finished)
    assert "Near copies 1 of 2" in page.text
    assert "cannot be read" in page.text


def test_the_map_keeps_every_point_within_its_frame_and_synthetic_ones_on_top() -> None:
    found = mapping.drawn(AUDIT)
    assert found is not None
    assert [mark.real for mark in found.marks] == [True] * 6 + [False] * 2
    assert {(mark.x, mark.y) for mark in (found.marks[0], found.marks[-1])} == {(14, 406), (626, 14)}
    assert [number.label for number in found.numbers] == [0, 1, 2]
    assert mapping.drawn(AUDIT.model_copy(update={"map": ()})) is None
