"""The form of a job as a browser without scripts uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.core.errors import IdempotencyMismatch
from app.core.security import Scope
from ddcore.spec import parse
from tests.app.dashboard.page import HERE, Page

if TYPE_CHECKING:
    from tests.app.conftest import Api
    from tests.app.dashboard.sets import Sets


class Form:
    """The form on a page, filled in and sent as a browser does."""

    path = "/jobs/new"

    def __init__(self, api: Api, path: str = "") -> None:
        self._api = api
        self.show(api.get(path or self.path))

    def show(self, answer: httpx.Response) -> None:
        self.page = Page(answer)
        self.values: dict[str, str] = {}
        chosen = ""
        for tag, a in self.page.tags:
            if tag == "select":
                chosen = a["name"]
            elif tag == "option" and chosen and ("selected" in a or chosen not in self.values):
                self.values[chosen] = a.get("value", "")
            elif tag == "input" and "name" in a and (a.get("type") != "checkbox" or "checked" in a):
                self.values[a["name"]] = a.get("value", "")

    def send(self, do: str = "submit", **typed: str) -> httpx.Response:
        """Send it with some fields changed; ``__`` stands for the dot of a path."""
        self.values |= {name.replace("__", "."): text for name, text in typed.items()}
        return self._api.post(self.path, data={**self.values, "do": do}, headers=HERE, follow_redirects=False)

    def faults(self) -> dict[str, str]:
        """What stands beside a field, by its path."""
        return {a["name"]: a["aria-describedby"] for _, a in self.page.tags if "aria-invalid" in a and "name" in a}


def job_at(api: Api, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 303, Page(answer).text
    document: dict[str, Any] = api.get("/v1" + answer.headers["Location"]).json()
    return document


def test_a_job_is_submitted_and_copied(api: Api) -> None:
    form = Form(api)
    assert "Still needed: Dataset" in form.page.text
    assert form.faults() == {}
    form.show(form.send("look", dataset="digits", regularizers__cmi="on"))
    assert "Ready to submit" not in form.page.text
    assert list(form.faults()) == ["regularizers.cmi"]
    assert "exactly one of weight" in form.page.text
    typed = {"regularizers__cmi__weight": "20", "method__iterations": "50", "name": "mine", "priority": "7"}
    job = job_at(api, form.send(labels="team: a", limits__max_runtime_s="600", **typed))
    assert parse(job["spec"]) == parse(
        {"dataset": "digits", "ipc": 10, "method": {"name": "dm", "iterations": 50}, "regularizers": {"cmi": 20}}
    )
    beside = (job["name"], job["labels"], job["priority"], job["limits"]["max_runtime_s"])
    assert beside == ("mine", {"team": "a"}, 7, 600)

    copy = Form(api, f"/jobs/new?clone={job['id']}")
    assert "Ready to submit" in copy.page.text
    again = job_at(api, copy.send(seed="1", labels="team: a"))
    assert again["parent_id"] == job["id"]
    assert again["spec"] == {**job["spec"], "seed": 1}
    assert (again["name"], again["labels"], again["priority"], again["limits"]) == (*beside[:3], job["limits"])


def test_what_it_would_cost_is_what_the_api_says(api: Api) -> None:
    form = Form(api, "/jobs/new?dataset=digits&method=mtt&ipc=2")
    told = api.post("/v1/jobs:validate", json={"dataset": "digits", "method": "mtt", "ipc": 2}).json()
    assert told["estimate"]["basis"][:40].lower() in form.page.text.lower()
    for phase in told["plan"]:
        assert phase["phase"] in form.page.text
    assert "Digits 8x8 : 10 classes, 8 × 8 grey, 1,437 training and 360 test images" in form.page.text
    assert "ddctl submit --spec -" in form.page.text


def test_a_form_sent_twice_makes_one_job(api: Api) -> None:
    form = Form(api, "/jobs/new?dataset=digits")
    first, second = form.send(), form.send()
    assert first.headers["Location"] == second.headers["Location"]
    assert len(api.get("/v1/jobs").json()["data"]) == 1
    changed = form.send(seed="9")
    assert changed.status_code == IdempotencyMismatch.status
    form.show(changed)
    assert "This form has made a job before" in form.page.text
    assert job_at(api, form.send())["spec"]["seed"] == 9


def test_a_half_filled_form_comes_back_as_it_was_typed(api: Api) -> None:
    form = Form(api)
    answer = form.send(ipc="many", method__lr_img="-1", name="<b>x</b>")
    assert answer.status_code == 422
    form.show(answer)
    assert set(form.faults()) == {"dataset", "ipc", "method.lr_img"}
    assert "3 faults to mend" in form.page.text
    assert "`" not in form.page.text
    assert "dataset is required." in form.page.text
    assert (form.values["ipc"], form.values["method.lr_img"], form.values["name"]) == ("many", "-1", "<b>x</b>")
    assert "<b>x" not in answer.text
    assert api.get("/v1/jobs").json()["data"] == []


def test_nothing_typed_is_dropped_in_silence(api: Api) -> None:
    """Without scripts the fields of another method come with the next page only."""
    form = Form(api, "/jobs/new?dataset=digits")
    form.show(form.send(method="mtt", method__batch_real="17", method__iterations="5"))
    assert "Not submitted yet" in form.page.text
    assert "method.batch_real (17) is no field of what is chosen now" in form.page.text
    assert form.values["method.iterations"] == "5"
    assert "method.student_steps" in form.values
    job = job_at(api, form.send())
    assert (job["spec"]["method"]["name"], job["spec"]["method"]["iterations"]) == ("mtt", 5)
    late = Form(api, "/jobs/new?dataset=digits").send(regularizers__gone="on")
    assert "regularizers.gone (on) is no field" in Page(late).text


@pytest.mark.parametrize("typed", ["[" * 3000, "[1,", "9" * 500, "\0"])
def test_what_cannot_be_read_is_refused_beside_its_field(api: Api, typed: str) -> None:
    form = Form(api, "/jobs/new?dataset=digits")
    answer = form.send(evaluation__networks=typed, seed=typed, name=typed)
    assert answer.status_code == 422
    form.show(answer)
    assert {"seed", "evaluation.networks"} <= set(form.faults())
    assert ("name" in form.faults()) == (len(typed) > 200 or "\0" in typed)


def test_a_preset_fills_the_form(api: Api) -> None:
    page = Page(api.get("/jobs/new?find=mim&find_dataset=digits"))
    (link,) = [a["href"] for a in page.all("a") if "dm-mim-cmi" in a.get("href", "")]
    job = job_at(api, Form(api, link).send())
    assert parse(job["spec"]) == parse({"preset": "quick/dm-mim-cmi-digits"})


def test_a_set_of_ones_own_can_be_distilled_with_every_option(api: Api, sets: Sets) -> None:
    own = sets.ready()
    page = Page(api.get(f"/datasets/{own}"))
    (button,) = [a for a in page.all("button") if a.get("formaction") == "/jobs/new"]
    form = Form(api, f"/jobs/new?dataset={button['value']}&method=dm&ipc=1")
    assert "Ready to submit" in form.page.text
    assert job_at(api, form.send())["dataset_id"] == own


@pytest.mark.parametrize("path", ["/jobs/new?preset=none", "/jobs/new?clone=job_01m7wfazz0fpcr59g52gcd7d4a"])
def test_what_is_not_there_is_said(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404
    assert "/jobs/new" in {a["href"] for a in Page(answer).all("a")}


def test_who_may_not_submit_is_told_so(api: Api, add_job: Callable[..., str]) -> None:
    add_job()
    reader = api.acting_as(api.key(scopes=(Scope.JOBS_READ,)))
    form = Form(reader, "/jobs/new?dataset=digits")
    assert "scope jobs:write" in form.page.text
    answer = form.send()
    assert answer.status_code == 403
    assert "Your key may look at jobs, but not change them" in Page(answer).text
    assert api.acting_as(None).get("/jobs/new").status_code == 401
    assert api.post("/jobs/new", data=form.values, headers={"Origin": "http://elsewhere"}).status_code == 403


def test_the_quota_is_said_on_the_form(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.state, "settings", api.settings.model_copy(update={"max_queued": 0}))
    form = Form(api, "/jobs/new?dataset=digits")
    answer = form.send()
    assert answer.status_code == 429
    assert "you have 0 unfinished jobs, and may have 0" in Page(answer).text.replace("You", "you")


def test_work_that_there_is_no_room_for_is_said_on_the_form(api: Api) -> None:
    """Beside what the job would cost, before it is sent and after."""
    told = api.post("/v1/jobs:validate", json={"dataset": "cifar10", "ipc": 10, "method": "dm"}).json()
    bound = told["estimate"]["seconds"]["cpu"]["expected"] * 0.9 / 3600
    assert api.patch("/v1/tenants/default", json={"max_work_hours": bound}).status_code == 200
    form = Form(api, "/jobs/new?dataset=cifar10")
    assert "Over the quota" in form.page.text
    assert f"together they may need {bound:g} h ( max_work_hours ); it should fit with" in form.page.text
    assert "Ready to submit" not in form.page.text
    assert "The same by command" not in form.page.text
    answer = form.send()
    assert (answer.status_code, "The quota is used up" in Page(answer).text) == (429, True)
    assert api.patch("/v1/tenants/default", json={"max_work_hours": None}).status_code == 200
    assert "Ready to submit" in Page(form.send("look")).text
