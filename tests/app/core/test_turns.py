"""Turns: one at a time each, and whoever has many requests under way lets those go first who have fewer."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from itertools import cycle
from typing import TYPE_CHECKING, Any

import pytest

from app.core import turns
from app.core.turns import InFlight, Turns, give_way, leave
from app.jobs.admission import Admission

if TYPE_CHECKING:
    from tests.app.conftest import Api


def test_of_one_key_one_at_a_time_in_order_and_others_beside() -> None:
    async def play() -> list[str]:
        turns, told = Turns(), list[str]()
        release = asyncio.Event()

        async def ask(who: str, name: str, waits: bool) -> None:
            async with turns.of(who):
                told.append(f"{name} begins")
                if waits:
                    await release.wait()
                told.append(f"{name} ends")

        tasks = [asyncio.create_task(ask("loud", f"loud {i}", i == 0)) for i in range(3)]
        await asyncio.sleep(0)
        await asyncio.create_task(ask("calm", "calm", False))
        release.set()
        await asyncio.gather(*tasks)
        return told

    told = asyncio.run(play())
    assert told == [
        "loud 0 begins", "calm begins", "calm ends", "loud 0 ends",
        "loud 1 begins", "loud 1 ends", "loud 2 begins", "loud 2 ends",
    ]  # fmt: skip


def test_one_that_fails_gives_its_turn_up() -> None:
    async def fail(turns: Turns) -> None:
        async with turns.of("key"):
            raise ValueError

    async def play() -> None:
        turns = Turns()
        for _ in range(2):
            try:
                await asyncio.wait_for(fail(turns), 5)
            except ValueError:
                continue
            raise AssertionError("it did not fail")

    asyncio.run(play())


def test_submissions_of_a_tenant_take_turns_whichever_keys_they_come_with(
    api: Api, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most = 0, 0
    admit = Admission.admit

    def counted(admission: Admission, *arguments: Any, **more: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return admit(admission, *arguments, **more)
        finally:
            at_once -= 1

    monkeypatch.setattr(Admission, "admit", counted)
    other = api.acting_as(api.post("/v1/api-keys", json={"name": "other"}).json()["key"])

    async def together() -> list[int]:
        keys = cycle((api, other))
        asked = [
            api.client.post("/v1/jobs", json={**spec, "seed": seed}, headers=next(keys).headers) for seed in range(6)
        ]
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert api.portal.call(together) == [201] * 6
    assert most == 1


class Room:
    """Requests of some tenants, each in a context of its own, by a clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.in_flight = InFlight(lambda: self.now)

    def come(self, who: str) -> Callable[[], None]:
        """A request begins; what it returns ends it."""
        context = contextvars.copy_context()
        context.run(self.in_flight.enter, who)
        return lambda: context.run(leave)


class TestInFlight:
    def test_whoever_has_fewer_requests_under_way_goes_first(self) -> None:
        room = Room()
        ends = [room.come("loud") for _ in range(3)]
        assert not room.in_flight.goes_first("loud")
        room.come("calm")
        assert room.in_flight.goes_first("loud")
        assert not room.in_flight.goes_first("calm")
        for end in ends[:2]:
            end()
        assert not room.in_flight.goes_first("loud"), "one each"

    def test_somebody_who_was_just_answered_is_taken_to_ask_on(self) -> None:
        room = Room()
        for _ in range(2):
            room.come("loud")
        room.come("calm")()
        room.now += turns.GAP_S * 0.9
        assert room.in_flight.goes_first("loud")
        room.now += turns.GAP_S * 0.2
        assert not room.in_flight.goes_first("loud")

    def test_a_request_that_several_contexts_know_leaves_once(self) -> None:
        room = Room()
        end = room.come("loud")
        end()
        end()
        assert room.in_flight._under_way["loud"] == 0

    @pytest.mark.parametrize("others", [0, 1])
    def test_a_costly_request_stands_still_for_others_and_not_for_ever(self, others: int) -> None:
        async def play() -> tuple[float, float]:
            in_flight = InFlight()
            for _ in range(others):
                contextvars.copy_context().run(in_flight.enter, "calm")
            for _ in range(2):
                in_flight.enter("loud")
            began = time.monotonic()
            await in_flight.begin_costly("loud")
            begun = time.monotonic()
            await asyncio.to_thread(give_way)
            return begun - began, time.monotonic() - begun

        least = turns.LONGEST_S if others else 0.0
        assert all(least <= seconds < 20 for seconds in asyncio.run(play()))

    def test_others_give_way_to_nobody(self) -> None:
        began = time.monotonic()
        for _ in range(1000):
            give_way()
        assert time.monotonic() - began < 1

    def test_every_request_leaves(self, api: Api, spec: dict[str, Any]) -> None:
        """Answered, refused, one that never ends, and one that waits for a change."""
        job = api.submit(spec)
        in_flight: InFlight = api.state.in_flight
        assert api.get("/v1/jobs").status_code == 200
        assert api.post("/v1/jobs", json={}).status_code == 422
        assert api.get(f"/v1/jobs/{job['id']}/checkpoints").status_code == 200
        assert not +in_flight._under_way
        under_way: list[int] = []

        async def look() -> None:
            path = f"/v1/jobs/{job['id']}?wait=1&version={job['version']}"
            waiting = asyncio.create_task(api.client.get(path, headers=api.headers))
            await asyncio.sleep(0.4)
            under_way.append(sum(in_flight._under_way.values()))
            await waiting

        api.portal.call(look)
        assert under_way == [0]
        api.force(job["id"], status="cancelled")
        assert api.get(f"/v1/jobs/{job['id']}/events:stream").status_code == 200
        assert not +in_flight._under_way
