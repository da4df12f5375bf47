"""One attempt to deliver, against a receiver on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import Iterator, Sequence

import pytest

from app.webhooks.network import Lookup, Network
from app.webhooks.sending import Outcome, Post
from tests.receiver import Answer, Receiver, receiving

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
BODY = '{"type":"job.succeeded","name":"größer"}'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def send(url: str, timeout_s: float = 30, inside: Sequence[Network] = (LOOPBACK,)) -> Outcome:
    async def post() -> Outcome:
        lookup = Lookup()
        try:
            return await Post(inside, timeout_s, lookup).send(url, BODY, {"webhook-id": "dlv_1"})
        finally:
            lookup.close()

    return asyncio.run(post())


def test_the_bytes_arrive_as_they_are(receiver: Receiver) -> None:
    outcome = send(receiver.url())
    (found,) = receiver.received
    assert found.body == BODY.encode()
    assert (found.headers["content-type"], found.headers["webhook-id"]) == ("application/json", "dlv_1")
    assert found.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert (outcome.delivered, outcome.status, outcome.error) == (True, 204, None)


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_what_is_no_success_is_a_failure(receiver: Receiver, status: int) -> None:
    receiver.answers["/hook"] = Answer(status, {"Retry-After": "120"}, b"no\0 thanks")
    outcome = send(receiver.url())
    assert (outcome.delivered, outcome.status, outcome.error) == (False, status, f"answered {status}")
    assert (outcome.pause_s, outcome.response) == (120, "no\N{REPLACEMENT CHARACTER} thanks")
    assert not outcome.gone


def test_one_that_is_gone_says_so(receiver: Receiver) -> None:
    receiver.answers["/hook"] = Answer(410)
    assert send(receiver.url()).gone


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    receiver.answers["/hook"] = Answer(status, {"Location": receiver.url("/elsewhere")})
    outcome = send(receiver.url())
    assert (outcome.delivered, outcome.status) == (False, status)
    assert "redirects are not followed" in (outcome.error or "")
    assert [one.path for one in receiver.received] == ["/hook"]


def test_one_that_hangs_is_left(receiver: Receiver) -> None:
    released = threading.Event()
    receiver.answers["/hook"] = Answer(before=lambda: released.wait(60))
    outcome = send(receiver.url(), timeout_s=0.5)
    released.set()
    assert (outcome.status, outcome.error) == (None, "no answer within 0.5 s")


def test_long_answers_are_cut(receiver: Receiver) -> None:
    receiver.answers["/hook"] = Answer(200, {}, b"x" * 1_000_000)
    outcome = send(receiver.url())
    assert outcome.delivered
    assert len(outcome.response or "") == 2048


def test_one_that_is_not_there_is_a_failure() -> None:
    with receiving() as stopped:
        url = stopped.url()
    outcome = send(url)
    assert (outcome.delivered, outcome.status) == (False, None)
    assert "ConnectError" in (outcome.error or "")


def test_loopback_is_not_reached_unless_it_is_allowed(receiver: Receiver) -> None:
    for url in (receiver.url(), f"https://127.0.0.1:{receiver.port}/", "https://localhost/", "http://[::1]/"):
        outcome = send(url, inside=())
        assert "is not an address that webhooks may reach" in (outcome.error or "")
        assert outcome.response is None
    assert receiver.received == []
