"""``GET /v1/jobs/{id}/report``: everything of a result in one file, and nothing outside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import pytest

from app.dashboard import job_report
from ddcore.spec import parse
from tests.app.conftest import Api
from tests.app.dashboard.conftest import SPEC, picture
from tests.app.dashboard.page import Page


def test_a_report_has_everything_and_needs_no_network(api: Api, finished: str) -> None:
    answer = api.get(f"/v1/jobs/{finished}/report")
    assert answer.headers["content-disposition"] == f'attachment; filename="{finished}.html"'
    page = Page(answer)
    for words in (
        "A <b>bold</b> name", "88.2 ± 0.8 %", "Near copies 1 of 2", "linear CKA", "mi_lower_bound", "Specification",
        '"ipc": 2', "versions.torch 2.15.0", "Steps 10 to 100",
    ):  # fmt: skip
        assert words in page.text, words
    assert {a["src"] for a in page.all("img")} == {
        f"data:image/png;base64,{base64.b64encode(picture(shade)).decode()}" for shade in (200, 100)
    }
    assert [a for tag, a in page.tags if tag in ("script", "link", "iframe", "form") or "href" in a] == []
    assert re.findall(r"(?:https?:)?//\w|url\(|@import", answer.text.replace("http://www.w3.org", "")) == []
    assert "default-src 'none'" in str(page.all("meta"))
    assert len(page.all("polyline")) == 4
    assert "<b>bold</b>" not in answer.text


@pytest.mark.parametrize("status", ["running", "failed", "queued"])
def test_a_job_without_a_result_is_refused(status: str, api: Api, add_job: Callable[..., str]) -> None:
    job_id = add_job(status=status, spec=parse(SPEC).model_dump(mode="json"))
    answer = api.get(f"/v1/jobs/{job_id}/report")
    assert answer.status_code == 404
    assert f"job {job_id} is {status} and has no result to report" in answer.json()["detail"]


def test_a_picture_that_is_too_large_is_left_out_and_said_to_be(
    api: Api, finished: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_report, "LARGEST_PICTURE", 10)
    page = Page(api.get(f"/v1/jobs/{finished}/report"))
    assert page.all("img") == []
    assert "too large for a report" in page.text
