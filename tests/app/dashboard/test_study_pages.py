"""The pages of studies as a browser without scripts uses them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from app.core.database import Database
from app.core.errors import IdempotencyMismatch
from app.core.security import Scope
from tests.app.dashboard.page import HERE, Page
from tests.app.dashboard.test_submit_pages import Form
from tests.app.studies.playing import play, queued, run

if TYPE_CHECKING:
    from tests.app.conftest import Api

TYPED = {
    "dataset": "digits", "ipc": "1, 2", "method": "dm, random", "method__iterations": "9",
    "study__budget__minutes": "", "study__budget__jobs": "4", "study__rungs": "2",
}  # fmt: skip


class StudyForm(Form):
    """The form of a study, filled in and sent as a browser does."""

    path = "/studies/new"


@pytest.fixture
def form(api: Api) -> StudyForm:
    return StudyForm(api)


def begun(api: Api, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 303, Page(answer).text[-800:]
    document: dict[str, Any] = api.get("/v1" + answer.headers["Location"]).json()
    return document


def finished(api: Api, form: StudyForm, **typed: str) -> dict[str, Any]:
    """A study that has been played to its end."""
    form.show(form.send("look", **TYPED))
    study = begun(api, form.send(**typed))
    play(api, study["id"])
    document: dict[str, Any] = api.get(f"/v1/studies/{study['id']}").json()
    assert document["status"] == "succeeded"
    return document


def test_the_form_proposes_the_automatic_study(api: Api, form: StudyForm) -> None:
    assert (form.values["method"], form.values["ipc"], form.values["study.budget.minutes"]) == ("auto", "10", "20")
    assert "Still needed: Dataset" in form.page.text
    form.show(form.send("look", dataset="digits"))
    told = api.post(
        "/v1/studies:validate",
        json={"base": {"dataset": "digits", "ipc": 10, "method": "auto"}, "budget": {"minutes": 20}},
    ).json()
    assert "Ready to begin" in form.page.text
    assert f"{len(told['trials'])} trials and 3 rungs" in form.page.text
    assert all(trial["title"] in form.page.text for trial in told["trials"])
    assert "ddctl study create --file -" in form.page.text
    study = begun(api, form.send())
    assert [trial["title"] for trial in study["trials"]] == [trial["title"] for trial in told["trials"]]


def test_an_automatic_study_has_no_fields_of_regularisers(api: Api, form: StudyForm) -> None:
    assert not [name for name in form.values if name.startswith("regularizers")]
    assert "Regularisers" not in form.page.text
    form.show(form.send("look", dataset="digits", method="dm", method__iterations="9"))
    form.show(form.send("look", regularizers__mim="on"))
    form.show(form.send("look", regularizers__mim__weight="2"))
    form.show(form.send("look", method="auto", method__iterations=""))
    assert "regularizers.mim (on) is no field of what is chosen now" in form.page.text
    assert begun(api, form.send())["spec"]["base"] == {"dataset": "digits", "ipc": 10, "method": "auto"}


def test_what_is_proposed_later_is_counted(api: Api, form: StudyForm) -> None:
    form.show(form.send("look", **TYPED | {"ipc": "1..9:9", "study__sampler": "tpe", "study__budget__jobs": "12"}))
    told = api.post("/v1/studies:validate", json={
        "base": {"dataset": "digits", "iterations": 9}, "sampler": "tpe", "budget": {"jobs": 12}, "rungs": 2,
        "space": {"ipc": {"from": 1, "to": 9, "count": 9}, "method": ["dm", "random"]},
    }).json()  # fmt: skip
    assert (len(told["trials"]), told["later"]) == (6, 6)
    assert "Proposed later 6 from the scores of the first" in form.page.text


def test_fields_with_several_values_are_searched(api: Api, form: StudyForm) -> None:
    form.show(form.send("look", **TYPED))
    form.show(form.send("look", regularizers__mim="on"))
    typed = {"regularizers__mim__relative": "null, 1", "study__seeds": "0, 1", "study__budget__jobs": "16"}
    study = begun(api, form.send(**typed, study__name="<b>mine", study__labels="team: a"))
    assert study["spec"]["base"] == {"dataset": "digits", "iterations": 9, "regularizers": {"mim": {}}}
    assert study["spec"]["space"] == {
        "ipc": [1, 2], "method": ["dm", "random"], "regularizers.mim.relative": [None, 1],
    }  # fmt: skip
    assert (study["name"], study["labels"], study["spec"]["seeds"]) == ("<b>mine", {"team": "a"}, [0, 1])
    for path in ("/studies", f"/studies/{study['id']}"):
        answer = api.get(path)
        assert "<b>mine" in Page(answer).text
        assert "<b>mine" not in answer.text
    assert "seed 1" in Page(api.get(f"/studies/{study['id']}")).text


def test_faults_stand_beside_their_fields(api: Api, form: StudyForm) -> None:
    form.show(form.send("look", dataset="digits", method="dm, dn", ipc="1..10", study__budget__minutes=""))
    assert set(form.faults()) == {"ipc"}
    answer = form.send()
    assert answer.status_code == 422
    form.show(answer)
    assert "'1..10' is no span; write values as dm, idm or a span as 0.1..10:5" in form.page.text
    assert "budget is required" in form.page.text
    assert "`" not in form.page.text
    form.show(form.send(ipc="1..10:3", study__budget__jobs="20", study__seeds="0, 0"))
    assert "list each once" in form.page.text
    assert api.get("/v1/studies").json()["data"] == []


def test_a_form_sent_twice_begins_one_study(api: Api, form: StudyForm) -> None:
    form.show(form.send("look", **TYPED))
    first, second = form.send(), form.send()
    assert first.headers["Location"] == second.headers["Location"]
    assert len(api.get("/v1/studies").json()["data"]) == 1
    changed = form.send(study__priority="6")
    assert changed.status_code == IdempotencyMismatch.status
    form.show(changed)
    assert "This form has begun a study before" in form.page.text
    assert begun(api, form.send())["priority"] == 6


def test_nothing_typed_is_dropped_in_silence(api: Api, form: StudyForm) -> None:
    form.show(form.send("look", **TYPED))
    form.show(form.send(method="auto", method__iterations="9"))
    assert "Not begun yet" in form.page.text
    assert "method.iterations (9) is no field of what is chosen now" in form.page.text
    assert api.get("/v1/studies").json()["data"] == []


def test_a_study_that_ended_shows_what_won(api: Api, form: StudyForm) -> None:
    study = finished(api, form)
    page = Page(api.get(f"/studies/{study['id']}"))
    winner = study["winner"]
    assert winner["answer"] in page.text
    assert f"{winner['accuracy']['mean']:.1f} ± {winner['accuracy']['deviation']:.1f} %" in page.text
    assert {a["href"] for a in page.all("a") if a.get("href", "").startswith("/jobs/job_")} == {
        f"/jobs/{job}" for trial in study["trials"] for job in trial["jobs"]
    }
    ways = [a["class"] for a in page.all("g")]
    assert (len(ways), ways[-1]) == (4, "way winner")
    assert all(trial["reason"].capitalize()[:12] in page.text for trial in study["trials"] if trial["reason"])
    assert not re.search(r"http-equiv|data-every", page.answer.text)
    listed = Page(api.get("/studies")).text
    assert study["trials"][winner["trial"]]["title"] in listed
    again = StudyForm(api, f"/studies/new?clone={study['id']}")
    assert "Ready to begin" in again.page.text
    assert begun(api, again.send())["spec"] == study["spec"]


def test_any_column_sorts_the_trials(api: Api, form: StudyForm) -> None:
    study = finished(api, form)
    address = f"/studies/{study['id']}?sort=-trial"
    page = Page(api.get(address))
    first = [a["aria-label"] for a in page.all("a") if a.get("aria-label", "").startswith("Job of trial")]
    assert first == [f"Job of trial {index}" for index in (3, 2, 1, 0)]
    assert [a.get("aria-sort") for a in page.all("th") if "aria-sort" in a] == ["descending"]
    assert "?sort=trial#trials" in {a.get("href") for a in page.all("a")}
    assert "Objective" not in page.text


def test_another_objective_has_a_column(api: Api, form: StudyForm) -> None:
    study = finished(api, form, study__objective="accuracy_per_byte")
    assert "Objective" in Page(api.get(f"/studies/{study['id']}")).text


def test_a_study_is_paused_resumed_cancelled_and_deleted(api: Api, form: StudyForm, database: Database) -> None:
    form.show(form.send("look", **TYPED))
    study = begun(api, form.send())["id"]
    with database.write() as session:
        run(session, queued(session)[0])
    page = Page(api.get(f"/studies/{study}"))
    assert "http-equiv" in page.answer.text
    assert "Rung 0, 33 % of the steps" in page.text

    def act(verb: str) -> str:
        assert f"/studies/{study}/{verb}" in {a.get("action") for a in Page(api.get(f"/studies/{study}")).all("form")}
        answer = api.post(f"/studies/{study}/{verb}", headers=HERE, follow_redirects=False)
        assert answer.status_code == 303, Page(answer).text
        return answer.headers["Location"]

    for verb in ("pause", "resume", "cancel"):
        assert act(verb) == f"/studies/{study}"
    refused = api.post(f"/studies/{study}/pause", headers=HERE)
    assert (refused.status_code, "cannot be told to pause" in Page(refused).text) == (409, True)
    assert act("delete") == "/studies"
    assert api.get(f"/studies/{study}").status_code == 404


def test_the_list_of_jobs_shows_those_of_a_study(api: Api, form: StudyForm) -> None:
    form.show(form.send("look", **TYPED))
    study = begun(api, form.send())
    api.post("/v1/jobs", json={"dataset": "digits", "ipc": 1, "method": "dm"})
    page = Page(api.get(f"/?study={study['id']}"))
    ticks = [a["value"] for a in page.all("input") if a.get("name") == "job"]
    assert sorted(ticks) == sorted(trial["jobs"][0] for trial in study["trials"])
    assert {a["value"] for a in page.all("input") if a.get("name") == "study"} == {study["id"]}
    job = Page(api.get(f"/jobs/{ticks[0]}"))
    assert f"/studies/{study['id']}" in {a.get("href") for a in job.all("a")}


def test_strangers_and_readers(api: Api, form: StudyForm) -> None:
    form.show(form.send("look", **TYPED))
    study = begun(api, form.send())["id"]
    nobody, reader = api.acting_as(None), api.acting_as(api.key(scopes=(Scope.JOBS_READ,)))
    for path in ("/studies", "/studies/new", f"/studies/{study}"):
        assert nobody.get(path).status_code == 401
        assert reader.get(path).status_code == 200
    assert nobody.post(f"/studies/{study}/cancel", headers=HERE).status_code == 401
    assert reader.post(f"/studies/{study}/cancel", headers=HERE).status_code == 403
    assert api.post(f"/studies/{study}/cancel").status_code == 403
    assert reader.post("/studies/new", data={**form.values, "do": "submit"}, headers=HERE).status_code == 403
    assert "disabled" in reader.get("/studies/new").text


def test_work_that_there_is_no_room_for_is_said_on_the_form(api: Api, form: StudyForm) -> None:
    form.show(form.send("look", **TYPED))
    assert "Ready to begin" in form.page.text
    assert api.patch("/v1/tenants/default", json={"max_work_hours": 1e-6}).status_code == 200
    form.show(form.send("look"))
    assert ("Over the quota" in form.page.text, "Ready to begin" in form.page.text) == (True, False)
    assert "This study should take" in form.page.text
    answer = form.send()
    assert (answer.status_code, "The quota is used up" in Page(answer).text) == (429, True)
    assert api.get("/v1/studies").json()["data"] == []


def test_no_study_yet(api: Api) -> None:
    assert "ddctl auto ./photos --ipc 10 --minutes 20" in Page(api.get("/studies")).text
    assert "/studies/new" in {a.get("href") for a in Page(api.get("/jobs/new")).all("a")}
