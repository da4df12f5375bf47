"""The API keeps to its description, whatever is sent to it.

Few requests for each operation, the same ones each time. ``DD_TEST_HUNT_S=600`` makes it as many as fit in so many
seconds for each test, other ones each time.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from app.core.settings import Settings
from tests.app.conformance.requests import LeavesStreams, Sender, described
from tests.app.conformance.things import Things

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
HUNT_S = float(os.environ.get("DD_TEST_HUNT_S", "0"))
OPEN_TO_ALL = {"GET /healthz", "GET /readyz", "GET /problems", "GET /problems/{code}"}


@pytest.fixture
def auth() -> bool:
    return True


@pytest.fixture
def settings(settings: Settings, auth: bool) -> Settings:
    """No rates and no quota, which would soon answer everything."""
    rates = {f"rate_{what}": 0 for what in ("requests", "submissions", "uploads", "failures")}
    return settings.model_copy(update={**rates, "max_queued": 10**6, "max_webhooks": 10**6, "auth": auth})


@pytest.fixture
def patient(api: Api) -> Iterator[Api]:
    """The API, asked by somebody who leaves streams."""
    transport = httpx.ASGITransport(app=LeavesStreams(api.app), client=("127.0.0.1", 50000))
    client = httpx.AsyncClient(transport=transport, base_url="http://test")
    yield replace(api, client=client)
    api.portal.call(client.aclose)


def try_all(asker: Api, owner: Api, folder: Path, picks: int, examples: int, *, keys: bool = False) -> Sender:
    """Send what is made up for every operation."""
    chance = random.Random(0 if HUNT_S == 0 else None)
    sender = Sender(asker, Things(owner, folder, chance), described(asker.app, keys=keys), chance)
    if HUNT_S == 0:
        for operation in sender.operations:
            sender.attempt(operation, picks, examples)
    else:
        hunt(sender)
    return sender


def hunt(sender: Sender) -> None:
    """Try operations at random, as long as there is time."""
    until = time.monotonic() + HUNT_S
    while time.monotonic() < until:
        sender.things.renew()
        for operation in sender.chance.sample(sender.operations, 20):
            sender.attempt(operation, 20, 20, sender.chance.getrandbits(32))


def report(sender: Sender) -> str:
    return "\n\n".join(f"{operation}: {text}" for (operation, _), text in sender.wrong.items())


def test_with_a_key(patient: Api, tmp_path: Path) -> None:
    sender = try_all(patient, patient, tmp_path, picks=6, examples=5)
    assert not sender.wrong, report(sender)
    accepted = [operation for operation, came in sender.statuses.items() if any(status < 300 for status in came)]
    assert len(accepted) > 0.8 * len(sender.statuses)


def test_without_a_key(patient: Api, tmp_path: Path) -> None:
    sender = try_all(patient.acting_as(None), patient, tmp_path, picks=0, examples=2, keys=True)
    assert not sender.wrong, report(sender)
    for operation, came in sender.statuses.items():
        assert operation in OPEN_TO_ALL or min(came) >= 400, operation


@pytest.mark.parametrize("auth", [False])
def test_with_auth_off(patient: Api, tmp_path: Path) -> None:
    nobody = patient.acting_as(None)
    sender = try_all(nobody, nobody, tmp_path, picks=0, examples=2)
    assert not sender.wrong, report(sender)
    assert 401 not in {status for came in sender.statuses.values() for status in came}
