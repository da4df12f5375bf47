"""Studies through the client alone; the real service answers in tests/contract."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from ddclient import AsyncClient, BadInputError, Client, ClientError, StudyFailedError
from ddclient.study_live import watch
from tests.ddclient.conftest import JOB_ID, FakeService, job_document
from tests.ddclient.study_documents import STUDY_ID, study_document, won

PATH = f"/v1/studies/{STUDY_ID}"


def test_a_study_is_sent_as_the_service_takes_it(client: Client, service: FakeService) -> None:
    service.on("POST", "/v1/studies", study_document())
    study = client.study(
        "digits", ipc=2, space={"method": "dm, idm", "regularizers.mim.weight": "0.1..10:5:log", "seed": [1]}, jobs=9,
        seeds=range(2), objective="accuracy_per_minute", options={"rungs": 2}, name="mine", evaluation={"epochs": 5},
    )  # fmt: skip
    assert (study.id, study.status, len(study.trials), study.winner) == (STUDY_ID, "running", 4, None)
    span = {"from": 0.1, "to": 10, "count": 5, "scale": "log"}
    assert service.bodies("POST", "/v1/studies") == [
        {
            "rungs": 2,
            "base": {"dataset": "digits", "ipc": 2, "evaluation": {"epochs": 5}},
            "budget": {"jobs": 9},
            "space": {"method": ["dm", "idm"], "regularizers.mim.weight": span, "seed": [1]},
            "objective": "accuracy_per_minute",
            "seeds": [0, 1],
            "name": "mine",
        }
    ]
    assert service.requests[0].headers["Idempotency-Key"]


def test_without_a_space_it_is_the_automatic_study(client: Client, service: FakeService) -> None:
    service.on("POST", "/v1/studies", study_document())
    client.study("digits", ipc=10, minutes=20, idempotency_key="mine")
    [body] = service.bodies("POST", "/v1/studies")
    assert body == {"base": {"dataset": "digits", "ipc": 10, "method": "auto"}, "budget": {"minutes": 20}}
    assert service.requests[0].headers["Idempotency-Key"] == "mine"


def test_what_cannot_be_a_study_is_said_before_it_is_sent(client: Client, service: FakeService) -> None:
    with pytest.raises(BadInputError, match="one budget, but 3 jobs and 20 minutes"):
        client.study("digits", jobs=3, minutes=20)
    with pytest.raises(BadInputError, match=r"`space` at `ipc`: '1..10' is no span"):
        client.study("digits", space={"ipc": "1..10"}, jobs=3)
    assert service.requests == []


def test_images_are_sent_first(client: Client, service: FakeService, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="there is no folder or file"):
        client.study(tmp_path / "photos", ipc=1, minutes=1)
    assert service.requests == []


def test_waiting_follows_the_version_to_the_winner(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, study_document(), study_document(version=2), won())
    service.on("GET", f"/v1/jobs/{JOB_ID}", job_document("succeeded"))
    seen: list[str] = []
    study = client.get_study(STUDY_ID)
    with pytest.raises(ClientError, match="is running and has no winner yet"):
        study.job  # noqa: B018 - reading it is what fails
    study.wait(on_change=lambda document: seen.append(document.status))
    assert seen == ["running", "succeeded"]
    assert [request.url.params.get("version") for request in service.requests[:3]] == [None, "1", "2"]
    assert study.winner is not None
    assert (study.winner.job_id, study.winner.gap) == (JOB_ID, -0.9)
    assert study.job.id == JOB_ID


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_waiting_for_a_study_without_a_winner_raises(client: Client, service: FakeService, status: str) -> None:
    error = {"code": "no_trial_left", "message": "each of 4 trials failed"}
    service.on("GET", PATH, study_document(status, error=error))
    with pytest.raises(StudyFailedError, match=f"{STUDY_ID} {status}: each of 4 trials failed") as caught:
        client.get_study(STUDY_ID).wait()
    assert (caught.value.status, caught.value.as_dict()["code"]) == (status, "study_failed")


def test_waiting_can_be_given_up(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, study_document())
    with pytest.raises(TimeoutError, match="still running after 0 seconds"):
        client.get_study(STUDY_ID).wait(timeout=0)


def test_verbs_and_the_list(client: Client, service: FakeService) -> None:
    for verb in ("pause", "resume", "cancel"):
        service.on("POST", f"{PATH}:{verb}", study_document("paused"))
    service.on("GET", PATH, study_document())
    service.on("DELETE", PATH, httpx.Response(204))
    pages: dict[str | None, Any] = {None: {"data": [study_document()], "next_cursor": "c"}, "c": {"data": [won()]}}
    service.on("GET", "/v1/studies", lambda r: httpx.Response(200, json=pages[r.url.params.get("cursor")]))
    study = client.get_study(STUDY_ID)
    assert {study.pause().status, study.resume().status, study.cancel().status} == {"paused"}
    study.delete()
    studies = client.studies(status=["running", "paused"])
    assert "study_" in studies._repr_html_()
    assert [one.status for one in studies] == ["running", "succeeded"]
    assert service.requests[-1].url.params["status"] == "running,paused"


def test_a_notebook_shows_the_study_with_text_escaped(client: Client, service: FakeService) -> None:
    document = won() | {"name": "<b>mine"}
    document["trials"][0]["title"] = "<script>"
    service.on("GET", PATH, document)
    shown = client.get_study(STUDY_ID)._repr_html_()
    assert "&lt;b&gt;mine" in shown
    assert "&lt;script&gt;" in shown
    assert "84.1 % ± 0.7 on the test set, networks anew, -0.9 points from what chose it" in shown
    assert "beats the best coreset by 6.1 points" in shown
    assert "<script>" not in shown


def test_trials_as_a_table(client: Client, service: FakeService) -> None:
    pandas = pytest.importorskip("pandas")
    service.on("GET", PATH, won())
    table = client.get_study(STUDY_ID).to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert list(table["method"]) == ["dm", "idm", "dm", "idm"]
    assert table.loc[1, ["status", "step", "accuracy", "networks"]].tolist() == ["winner", 90, 85.0, 3]
    assert table["accuracy"].isna().tolist() == [False, False, True, False]


def test_a_terminal_keeps_a_line_for_each_rung(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, study_document(), won())
    console = Console(file=io.StringIO(), force_terminal=True, width=150, color_system=None)
    assert watch(client.get_study(STUDY_ID), console=console).status == "succeeded"
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for part in (
        "rung 0, 11 % of the steps: 3 of 4 scored, 1 ended, best 80.0 % ± 0.6 (idm, ipc 1), 2 go on",
        "rung 2, 100 % of the steps: 1 of 1 scored, best 85.0 % ± 0.6 (idm, ipc 1)",
        "evaluation of the winner: 84.1 % ± 0.7",
        "1,310 steps of the 3,600 that all trials to the end would take",
    ):
        assert part in shown


def test_lines_are_written_once_where_there_is_no_terminal(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, study_document(), study_document(), study_document(version=2), won())
    console = Console(file=io.StringIO(), width=150)
    watch(client.get_study(STUDY_ID), console=console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "running: rung 0", "running: rung 1",
        "succeeded: rung 1", "succeeded: rung 2", "succeeded: evaluation of the winner: 84.1 % ± 0.7",
    ]  # fmt: skip


def test_a_paused_study_ends_the_watching(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, study_document("paused"))
    assert watch(client.get_study(STUDY_ID), console=Console(file=io.StringIO())).status == "paused"


def test_asyncio_has_the_same(service: FakeService) -> None:
    service.on("POST", "/v1/studies", study_document())
    service.on("GET", PATH, study_document(version=2), won())
    service.on("POST", f"{PATH}:cancel", study_document("cancelled"))
    service.on("GET", "/v1/studies", {"data": [study_document()]})
    service.on("GET", f"/v1/jobs/{JOB_ID}", job_document("succeeded"))

    async def act() -> tuple[Any, ...]:
        async with AsyncClient("http://service.test", "dd_key", transport=httpx.MockTransport(service)) as client:
            study = await client.submit_study({"base": {"dataset": "digits", "ipc": 1, "method": "auto"}})
            await study.wait()
            job = await study.job()
            listed = [one.id async for one in client.studies(status="running")]
            return study.status, job.id, listed, (await study.cancel()).status

    assert asyncio.run(act()) == ("succeeded", JOB_ID, [STUDY_ID], "cancelled")
