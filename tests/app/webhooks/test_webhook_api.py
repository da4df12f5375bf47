"""Webhooks over HTTP and on both databases: what is owed to which receiver, and what becomes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from app.core.database import Database
from app.core.errors import Invalid
from app.core.security import Principal, Scope, Signer, load_signer
from app.core.settings import Settings
from app.core.tables import clock
from app.events import alerts, repository
from app.models.webhooks import Delivery, DeliveryAttempt, Webhook
from app.webhooks import deliveries
from app.webhooks.deliveries import Message, WrongPepperError
from app.webhooks.schemas import NewWebhook
from app.webhooks.sending import Outcome
from app.webhooks.service import WebhookService
from tests.app.scores.conftest import Scores
from tests.receiver import Received

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
URL = "https://hooks.example.org/dd?team=a"
DOWN = Outcome(0.1, 500, "answered 500", "no")
OWNER = Principal("default", None, frozenset(Scope))
FINE = Outcome(0.1, 204, None, "")


def made(api: Api, **fields: Any) -> dict[str, Any]:
    answer = api.post("/v1/webhooks", json={"url": URL, **fields})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    document: dict[str, Any] = answer.json()
    return document


def sent(api: Api, webhook_id: str, **query: Any) -> list[dict[str, Any]]:
    """Messages to a webhook, the oldest first."""
    page = api.get(f"/v1/webhooks/{webhook_id}/deliveries", params=query).json()
    found: list[dict[str, Any]] = page["data"]
    return found[::-1]


def refused(answer: Any, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return json.dumps(answer.json(), ensure_ascii=False)


def take(api: Api, webhook_id: str, limit: int = 10, settings: Settings | None = None) -> list[Message]:
    with api.database.write() as session:
        return list(deliveries.take(session, settings or api.settings, api.state.signer, webhook_id, limit, 60))


def settle(api: Api, message: Message, outcome: Outcome, settings: Settings | None = None) -> None:
    with api.database.write() as session:
        deliveries.settle(session, settings or api.settings, message, outcome)


def make_due(api: Api) -> None:
    with api.database.write() as session:
        session.execute(update(Delivery).values(due_at=clock(-1)))


def messages(taken: list[Message]) -> Iterator[Any]:
    for one in taken:
        yield json.loads(one.body)


class TestWebhooks:
    def test_one_is_made_shown_changed_and_deleted(self, api: Api) -> None:
        new = made(api, description="to the channel")
        assert new["secret"].startswith("whsec_")
        assert new["events"] == ["job.succeeded", "job.failed", "job.cancelled", "job.expired", "alert.*"]
        path = f"/v1/webhooks/{new['id']}"
        shown = api.get(path).json()
        assert shown == {name: value for name, value in new.items() if name != "secret"}
        assert api.get("/v1/webhooks").json()["data"] == [shown]
        changed = api.patch(path, json={"events": ["job.*", "job.*"], "url": "https://other.example.org:8443/"}).json()
        assert (changed["events"], changed["url"]) == (["job.*"], "https://other.example.org:8443/")
        assert changed["description"] == "to the channel"
        assert api.delete(path).status_code == 204
        refused(api.get(path), 404, "not_found")
        acts = [one["action"] for one in api.get("/v1/audit").json()["data"]]
        assert acts[:3] == ["webhook.delete", "webhook.change", "webhook.create"]
        assert new["secret"] not in api.get("/v1/audit").text

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("http://example.org/", "it must be https"),
            ("https://example.org:22/", "on port 443 or 8443"),
            ("https://127.0.0.1/", "no public address"),
            ("https://[::ffff:10.0.0.1]/", "no public address"),
            ("https://user:word@example.org/", "leave them out"),
            ("https://example.org/#here", "'#here'"),
            ("https://example.org/a b", "%20"),
            ("https://example.org:99999/", "is no address: Port"),
            ("ftp://example.org/", "must look like"),
            ("https:///nowhere", "must look like"),
            ("https://exa\u0000mple.org/", "U+0000"),
            ("x" * 2001, "2000"),
        ],
    )
    def test_what_is_no_address_is_refused(self, api: Api, url: str, words: str) -> None:
        assert words in refused(api.post("/v1/webhooks", json={"url": url}), 422, "invalid")
        path = f"/v1/webhooks/{made(api)['id']}"
        assert words in refused(api.patch(path, json={"url": url}), 422, "invalid")

    def test_the_operators_networks_may_be_named_and_no_others(self, settings: Settings, database: Database) -> None:
        allowed = settings.model_copy(update={"webhook_networks": ("127.0.0.0/8",)})
        with database.write() as session:
            desk = WebhookService(session, OWNER, allowed, load_signer(settings))
            for url in ("http://127.0.0.1:9000/", "http://inside.example.org:9000/"):
                assert desk.create(NewWebhook(url=url))[0].url == url
            for url in ("http://10.0.0.1/", "https://10.0.0.1/", "http://1.1.1.1/"):
                with pytest.raises(Invalid):
                    desk.create(NewWebhook(url=url))

    @pytest.mark.parametrize(
        ("events", "words"),
        [
            (["job.done"], "choose from *, job.*"),
            ([], "at least 1"),
            (["job.progress"], "is no event"),
            ([1], "string"),
        ],
    )
    def test_what_is_no_event_is_refused(self, api: Api, events: list[Any], words: str) -> None:
        assert words in refused(api.post("/v1/webhooks", json={"url": URL, "events": events}), 422, "invalid")

    def test_a_field_cannot_be_null(self, api: Api) -> None:
        path = f"/v1/webhooks/{made(api)['id']}"
        for name in ("url", "events", "description", "disabled"):
            assert "cannot be null" in refused(api.patch(path, json={name: None}), 422, "invalid")

    def test_a_tenant_has_so_many(self, api: Api) -> None:
        for _ in range(api.settings.max_webhooks):
            made(api)
        assert "delete one first" in refused(api.post("/v1/webhooks", json={"url": URL}), 429, "quota_exceeded")

    def test_they_are_for_admins(self, api: Api) -> None:
        writer = api.acting_as(api.key(scopes=(Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.ARTIFACTS_READ)))
        new = made(api)
        refused(writer.get("/v1/webhooks"), 403, "forbidden")
        refused(writer.post("/v1/webhooks", json={"url": URL}), 403, "forbidden")
        refused(writer.post(f"/v1/webhooks/{new['id']}:test"), 403, "forbidden")

    def test_the_secret_is_replaced_and_for_a_while_both_sign(self, api: Api) -> None:
        new = made(api)
        path = f"/v1/webhooks/{new['id']}"
        rotated = api.post(f"{path}:rotate", json={"grace_s": 60}).json()
        assert rotated["secret"] != new["secret"]
        assert rotated["previous_until"] is not None
        api.post(f"{path}:test")
        (message,) = take(api, new["id"])
        for secret in (new["secret"], rotated["secret"]):
            assert Received("/", message.headers, message.body.encode()).verify(secret)["type"] == "webhook.test"
        last = api.post(f"{path}:rotate", json={"grace_s": 0}).json()
        assert last["previous_until"] is None
        api.post(f"{path}:test")
        (message,) = take(api, new["id"])
        assert message.headers["webhook-signature"].count("v1,") == 1
        Received("/", message.headers, message.body.encode()).verify(last["secret"])


class TestWhatIsOwed:
    def test_a_job_that_ends_is_told_with_its_document(self, api: Api, spec: dict[str, Any]) -> None:
        webhook = made(api, events=["job.created", "job.cancelled"])
        job = api.submit(spec, name="größer")
        api.post(f"/v1/jobs/{job['id']}:cancel", json={"reason": "tired of it"})
        assert [one["event"] for one in sent(api, webhook["id"])] == ["job.created", "job.cancelled"]
        taken = take(api, webhook["id"])
        created, cancelled = messages(taken)
        assert created["type"] == "job.created"
        assert (cancelled["data"]["job_id"], cancelled["data"]["event"]["data"]["to"]) == (job["id"], "cancelled")
        assert cancelled["data"]["job"] == api.get(f"/v1/jobs/{job['id']}").json()
        assert (cancelled["data"]["study"], cancelled["data"]["dataset"]) == (None, None)
        assert "größer" in taken[1].body

    def test_a_score_that_ends_is_told_with_its_document(self, api: Api) -> None:
        webhook = made(api, events=["score.*"])
        score_id = Scores(api).sent()
        api.post(f"/v1/scores/{score_id}:cancel")
        assert [one["event"] for one in sent(api, webhook["id"])] == ["score.created", "score.cancelled"]
        _, cancelled = messages(take(api, webhook["id"]))
        assert cancelled["data"]["score"] == api.get(f"/v1/scores/{score_id}").json()
        assert (cancelled["data"]["job"]["kind"], cancelled["data"]["dataset"]) == ("score", None)

    def test_only_what_is_subscribed_to_and_only_the_tenants_own(
        self, api: Api, rival: Api, spec: dict[str, Any]
    ) -> None:
        everything, alarms, off = made(api, events=["*"]), made(api, events=["alert.*"]), made(api, events=["*"])
        theirs = made(rival, events=["*"])
        api.patch(f"/v1/webhooks/{off['id']}", json={"disabled": True})
        job = api.submit(spec)
        with api.database.write() as session:
            alerts.record(session, job["id"], "plateau", "it is flat", {"lowest": 0.5})
            repository.append(session, job["id"], "job.progress", "info", "step 1")
            repository.append(session, job["id"], "job.warning", "warning", "look at this")
        names = [one["event"] for one in sent(api, everything["id"])]
        assert names == ["job.created", "alert.plateau", "job.warning"]
        assert [one["event"] for one in sent(api, alarms["id"])] == ["alert.plateau"]
        assert sent(api, off["id"]) == sent(rival, theirs["id"]) == []
        refused(rival.get(f"/v1/webhooks/{everything['id']}/deliveries"), 404, "not_found")

    def test_nothing_is_owed_for_what_is_taken_back(self, api: Api, spec: dict[str, Any]) -> None:
        webhook = made(api, events=["*"])
        job = api.submit(spec)

        def taken_back() -> None:
            with api.database.write() as session:
                repository.append(session, job["id"], "job.warning", "warning", "never mind")
                raise RuntimeError

        with pytest.raises(RuntimeError):
            taken_back()
        assert [one["event"] for one in sent(api, webhook["id"])] == ["job.created"]

    def test_every_job_of_a_study_is_told(self, api: Api, spec: dict[str, Any]) -> None:
        webhook = made(api, events=["job.created"])
        space = {"method.iterations": [10, 20]}
        study = api.post("/v1/studies", json={"base": spec, "space": space, "seeds": [1, 2], "budget": {"jobs": 9}})
        assert study.status_code == 201, study.text
        told = [one["job_id"] for one in sent(api, webhook["id"])]
        listed = api.get("/v1/jobs", params={"study": study.json()["id"]}).json()["data"]
        assert sorted(told) == sorted(job["id"] for job in listed)
        assert len(told) > 0

    def test_a_deleted_job_is_told_without_its_document(self, api: Api, spec: dict[str, Any]) -> None:
        webhook = made(api, events=["job.cancelled"])
        job = api.submit(spec)
        api.post(f"/v1/jobs/{job['id']}:cancel")
        assert api.delete(f"/v1/jobs/{job['id']}").status_code == 204
        (message,) = messages(take(api, webhook["id"]))
        assert (message["type"], message["data"]["job_id"], message["data"]["job"]) == (
            "job.cancelled",
            job["id"],
            None,
        )


class TestOnTheWay:
    def test_a_message_is_taken_once_and_again_with_the_same_bytes_if_nothing_is_heard(self, api: Api) -> None:
        webhook = made(api)
        api.post(f"/v1/webhooks/{webhook['id']}:test")
        (first,) = take(api, webhook["id"])
        assert take(api, webhook["id"]) == []
        make_due(api)
        (again,) = take(api, webhook["id"])
        assert (again.id, again.body, again.url) == (first.id, first.body, URL)

    def test_attempts_are_kept_and_follow_the_plan(self, api: Api) -> None:
        webhook = made(api)
        delivery = api.post(f"/v1/webhooks/{webhook['id']}:test").json()
        path = f"/v1/webhooks/{webhook['id']}/deliveries/{delivery['id']}"
        pauses = api.settings.webhook_retries_s
        assert list(pauses) == [5, 300, 1800, 7200, 18_000, 36_000, 50_400]
        plan: tuple[float | None, ...] = (*pauses, None)
        for number, pause_s in enumerate(plan):
            make_due(api)
            (message,) = take(api, webhook["id"])
            with api.database.read() as session:
                before = session.execute(select(clock())).scalar_one()
            settle(api, message, DOWN)
            shown = api.get(path).json()
            assert (shown["attempts"], len(shown["history"])) == (number + 1, number + 1)
            if pause_s is not None:
                with api.database.read() as session:
                    due = session.scalars(select(Delivery.due_at)).one()
                assert 0.89 * pause_s <= (due - before).total_seconds() <= 1.11 * pause_s + 5
        assert (shown["state"], shown["due_at"]) == ("failed", None)
        assert shown["finished_at"] is not None
        assert [one["number"] for one in shown["history"]] == list(range(1, 9))
        assert {(one["status"], one["error"], one["response"]) for one in shown["history"]} == {
            (500, "answered 500", "no")
        }
        assert shown["payload"]["type"] == "webhook.test"
        assert sent(api, webhook["id"], state="delivered") == []
        assert len(sent(api, webhook["id"], state="failed")) == 1

    def test_a_receiver_may_ask_for_a_longer_pause(self, api: Api) -> None:
        webhook = made(api)
        api.post(f"/v1/webhooks/{webhook['id']}:test")
        (message,) = take(api, webhook["id"])
        settle(api, message, Outcome(0.1, 429, "answered 429", "", pause_s=3600))
        with api.database.read() as session:
            due, clock_now = session.execute(select(Delivery.due_at, clock())).one()
        assert 3590 < (due - clock_now).total_seconds() <= 3600

    def test_a_success_ends_it_whatever_another_sender_says_later(self, api: Api) -> None:
        webhook = made(api)
        api.post(f"/v1/webhooks/{webhook['id']}:test")
        (message,) = take(api, webhook["id"])
        settle(api, message, FINE)
        settle(api, message, DOWN)
        (shown,) = sent(api, webhook["id"])
        assert (shown["state"], shown["attempts"]) == ("delivered", 2)

    def test_one_can_be_sent_again_at_any_time(self, api: Api) -> None:
        webhook = made(api)
        delivery = api.post(f"/v1/webhooks/{webhook['id']}:test").json()
        (first,) = take(api, webhook["id"])
        settle(api, first, FINE)
        path = f"/v1/webhooks/{webhook['id']}/deliveries/{delivery['id']}:redeliver"
        assert api.post(path).json()["state"] == "pending"
        (again,) = take(api, webhook["id"])
        assert (again.id, again.body) == (first.id, first.body)
        settle(api, again, DOWN)
        assert api.post(path).status_code == 202
        assert len(take(api, webhook["id"])) == 1

    def test_after_days_of_failures_it_is_disabled_and_enabling_sends_what_waits(self, api: Api) -> None:
        webhook = made(api, events=["*"])
        path = f"/v1/webhooks/{webhook['id']}"
        api.post(f"{path}:test")
        (message,) = take(api, webhook["id"])
        settle(api, message, DOWN)
        assert api.get(path).json()["failing_since"] is not None
        with api.database.write() as session:
            session.execute(update(Webhook).values(failing_since=clock(-5 * 86_400 - 1)))
        make_due(api)
        settle(api, message, DOWN)
        shown = api.get(path).json()
        assert (shown["disabled_why"], shown["disabled_at"] is not None) == ("failing", True)
        (act,) = api.get("/v1/audit", params={"action": "webhook.disable"}).json()["data"]
        assert (act["key_id"], act["object_id"], act["details"]) == (None, webhook["id"], {"why": "failing"})
        with api.database.read() as session:
            assert deliveries.waiting(session) == []
        assert "enable it first" in refused(api.post(f"{path}:test"), 409, "webhook_disabled")
        assert "enable it first" in refused(
            api.post(f"{path}/deliveries/{message.id}:redeliver"), 409, "webhook_disabled"
        )
        enabled = api.patch(path, json={"disabled": False}).json()
        assert (enabled["disabled_at"], enabled["disabled_why"], enabled["failing_since"]) == (None, None, None)
        make_due(api)
        with api.database.read() as session:
            assert deliveries.waiting(session) == [(webhook["id"], "default")]

    def test_a_success_makes_it_whole(self, api: Api) -> None:
        webhook = made(api)
        path = f"/v1/webhooks/{webhook['id']}"
        for outcome in (DOWN, FINE):
            api.post(f"{path}:test")
            make_due(api)
            settle(api, take(api, webhook["id"])[-1], outcome)
        assert api.get(path).json()["failing_since"] is None

    def test_one_that_is_gone_is_told_no_more(self, api: Api) -> None:
        webhook = made(api)
        api.post(f"/v1/webhooks/{webhook['id']}:test")
        (message,) = take(api, webhook["id"])
        settle(api, message, Outcome(0.1, 410, "answered 410", ""))
        shown = api.get(f"/v1/webhooks/{webhook['id']}").json()
        assert shown["disabled_why"] == "gone"
        assert [one["state"] for one in sent(api, webhook["id"])] == ["failed"]

    def test_a_process_with_another_pepper_signs_nothing(self, api: Api) -> None:
        webhook = made(api)
        api.post(f"/v1/webhooks/{webhook['id']}:test")
        with pytest.raises(WrongPepperError), api.database.write() as session:
            deliveries.take(session, api.settings, Signer(b"x" * 32), webhook["id"], 1, 60)
        assert len(take(api, webhook["id"])) == 1

    def test_deleting_it_deletes_what_was_sent(self, api: Api) -> None:
        webhook = made(api)
        api.post(f"/v1/webhooks/{webhook['id']}:test")
        (message,) = take(api, webhook["id"])
        settle(api, message, DOWN)
        api.delete(f"/v1/webhooks/{webhook['id']}")
        assert api.count(Delivery) == api.count(DeliveryAttempt) == 0
        settle(api, message, FINE)  # it was under way
        assert api.count(DeliveryAttempt) == 0

    def test_old_messages_are_forgotten(self, api: Api) -> None:
        webhook = made(api)
        for _ in range(3):
            api.post(f"/v1/webhooks/{webhook['id']}:test")
        with api.database.write() as session:
            oldest = session.scalars(select(Delivery.number).order_by(Delivery.number).limit(2)).all()
            aged = update(Delivery).where(Delivery.number.in_(oldest))
            session.execute(aged.values(created_at=clock(-31 * 86_400)))
        for dropped in (1, 1, 0):
            with api.database.write() as session:
                assert deliveries.drop_old(session, 30, 1) == dropped
        assert len(sent(api, webhook["id"])) == 1

    def test_lists_have_pages(self, api: Api) -> None:
        webhook = made(api)
        made_here = [api.post(f"/v1/webhooks/{webhook['id']}:test").json()["id"] for _ in range(5)]
        path = f"/v1/webhooks/{webhook['id']}/deliveries"
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = api.get(path, params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
            found += [one["id"] for one in page["data"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert found == made_here[::-1]
        first = api.get(path, params={"limit": 2}).json()["next_cursor"]
        refused(api.get(path, params={"cursor": first, "state": "failed"}), 400, "invalid_cursor")
        refused(api.get(path, params={"state": "lost"}), 400, "invalid_parameter")
