"""Turns of keys: one at a time each, in the order in which they came, and nobody waits for another's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from app.core.turns import Turns
from app.jobs.service import JobService

if TYPE_CHECKING:
    import pytest

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


def test_submissions_of_a_key_take_turns(api: Api, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = 0, 0
    admit = JobService.admit

    def counted(service: JobService, *arguments: Any, **more: Any) -> Any:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return admit(service, *arguments, **more)
        finally:
            at_once -= 1

    monkeypatch.setattr(JobService, "admit", counted)

    async def together() -> list[int]:
        asked = [api.client.post("/v1/jobs", json={**spec, "seed": seed}, headers=api.headers) for seed in range(6)]
        return [answer.status_code for answer in await asyncio.gather(*asked)]

    assert api.portal.call(together) == [201] * 6
    assert most == 1
