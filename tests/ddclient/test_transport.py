from __future__ import annotations

import httpx
import pytest
from tenacity import Future, RetryCallState, Retrying

from ddclient import Client, ProblemError, UnreachableError, transport
from ddclient.errors import Exit, UnreadableAnswerError
from ddcore.version import __version__
from tests.ddclient.conftest import JOB_ID, FakeService, job_document

PATH = f"/v1/jobs/{JOB_ID}"
DOWN = httpx.ConnectError("connection refused")
pause = transport._pause  # before a fixture takes it away


def test_a_read_is_tried_again_when_the_connection_fails(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, DOWN, httpx.Response(503), job_document())
    assert client.job(JOB_ID).status == "running"
    assert len(service.requests) == 3


def test_a_service_that_stays_away_is_named_with_a_way_out(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, DOWN)
    with pytest.raises(UnreachableError, match=r"http://service\.test.*connection refused.*ddctl up") as caught:
        client.job(JOB_ID)
    assert caught.value.exit_code == Exit.UNREACHABLE
    assert len(service.requests) == 4


def test_a_verb_is_sent_once_because_it_may_have_arrived(client: Client, service: FakeService) -> None:
    service.on("POST", f"{PATH}:cancel", httpx.ReadTimeout("no answer"), job_document("cancelling"))
    with pytest.raises(UnreachableError):
        client.cancel(JOB_ID)
    assert len(service.requests) == 1


def test_a_submission_repeats_with_one_key(client: Client, service: FakeService) -> None:
    service.on("POST", "/v1/jobs", httpx.ReadTimeout("no answer"), job_document("queued"))
    client.distill("digits")
    client.distill("digits")
    keys = [request.headers["Idempotency-Key"] for request in service.requests]
    assert keys[0] == keys[1] != keys[2]


def test_a_submission_waits_for_its_twin_in_progress(client: Client, service: FakeService) -> None:
    twin = httpx.Response(409, json={"code": "idempotency_in_progress"}, headers={"Retry-After": "1"})
    service.on("POST", "/v1/jobs", twin, job_document("queued"))
    assert client.distill("digits").status == "queued"


def refusal(status: int, code: str | None, after: int | None) -> httpx.Response:
    headers = {} if after is None else {"Retry-After": str(after)}
    return httpx.Response(status, json={} if code is None else {"code": code}, headers=headers)


@pytest.mark.parametrize(
    ("status", "code", "after", "sent"),
    [
        (429, "rate_limited", 47, 4),
        (429, None, 2, 4),
        (429, None, None, 4),
        (429, "rate_limited", 61, 1),
        (429, "quota_exceeded", 30, 1),
        (429, "quota_exceeded", None, 1),
        (503, "unavailable", 5, 4),
    ],
)
def test_only_what_passes_is_asked_again(
    client: Client, service: FakeService, status: int, code: str | None, after: int | None, sent: int
) -> None:
    """Each answer to a submission, and how often it is sent."""
    service.on("POST", "/v1/jobs", refusal(status, code, after))
    with pytest.raises(ProblemError) as caught:
        client.distill("digits")
    assert (caught.value.status, len(service.requests)) == (status, sent)


@pytest.mark.parametrize(
    ("status", "code", "after", "seconds"),
    [
        (429, "rate_limited", 47, 47),
        (429, None, 2, 2),
        (503, "unavailable", 60, transport.LONGEST_PAUSE_S),
        (409, "idempotency_in_progress", 1, 1),
    ],
)
def test_a_rate_limit_is_waited_for_to_its_end(status: int, code: str | None, after: int, seconds: float) -> None:
    state = RetryCallState(Retrying(), None, (), {})
    state.outcome = Future(1)
    state.outcome.set_exception(transport.problem(refusal(status, code, after)))
    assert pause(state) == seconds


def test_a_refusal_is_not_repeated(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, httpx.Response(404, json={"title": "No such job", "code": "not_found"}))
    with pytest.raises(ProblemError, match="No such job"):
        client.job(JOB_ID)
    assert len(service.requests) == 1


def test_a_problem_document_reads_as_text(client: Client, service: FakeService) -> None:
    problem = {
        "title": "The specification is invalid",
        "status": 422,
        "detail": "1 fault",
        "code": "bad_specification",
        "errors": [{"pointer": "/ipc", "code": "greater_than_equal", "detail": "`ipc` is 0, but must be at least 1"}],
    }
    service.on("POST", "/v1/jobs", httpx.Response(422, json=problem))
    with pytest.raises(ProblemError) as caught:
        client.distill("digits", ipc=0)
    assert str(caught.value) == ("The specification is invalid: 1 fault\n  /ipc: `ipc` is 0, but must be at least 1")
    assert caught.value.problems[0].pointer == "/ipc"
    assert caught.value.exit_code == Exit.BAD_INPUT


def test_a_conflict_says_what_is_allowed(client: Client, service: FakeService) -> None:
    service.on("POST", f"{PATH}:cancel", httpx.Response(409, json={"title": "Not now", "allowed": ["clone"]}))
    with pytest.raises(ProblemError, match="allowed now: clone") as caught:
        client.cancel(JOB_ID)
    assert caught.value.exit_code == Exit.REFUSED
    assert caught.value.allowed == ("clone",)


def test_a_wrong_key_says_where_keys_come_from(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, httpx.Response(401, json={"title": "Unauthorized"}))
    with pytest.raises(ProblemError, match="DD_API_KEY"):
        client.job(JOB_ID)


@pytest.mark.parametrize("content", [b"<html>proxy</html>", b"[]", b""])
def test_an_answer_of_something_else_is_still_readable(client: Client, service: FakeService, content: bytes) -> None:
    service.on("GET", PATH, httpx.Response(404, content=content))
    with pytest.raises(ProblemError, match="HTTP 404 Not Found"):
        client.job(JOB_ID)


def test_the_key_travels_as_a_bearer_token(client: Client, service: FakeService) -> None:
    service.on("GET", PATH, job_document())
    client.job(JOB_ID)
    assert service.requests[0].headers["Authorization"] == "Bearer dd_key"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(200, html="<h1>Sign in</h1>"), "it is no JSON but text/html; charset=utf-8"),
        (httpx.Response(200, json={**job_document(), "status": None}), "status: Input should be a valid string"),
    ],
)
def test_an_answer_that_is_not_understood_is_no_fault_of_the_client(
    client: Client, service: FakeService, answer: httpx.Response, reason: str
) -> None:
    """A proxy's page, or a service of another version."""
    service.on("GET", PATH, answer)
    with pytest.raises(UnreadableAnswerError) as caught:
        client.job(JOB_ID)
    assert str(caught.value).startswith(f"the answer to GET {PATH} was not understood ({reason}")
    assert f"another version than this client, {__version__}" in str(caught.value)


def test_so_is_one_without_what_is_read_of_it(client: Client, service: FakeService) -> None:
    service.on("GET", f"{PATH}/artifacts", {"items": []})
    with pytest.raises(UnreadableAnswerError, match=r"\('data' is missing\)"):
        client.artifacts(JOB_ID)
