"""Tenants, members, roles, quotas, use and the audit trail, over HTTP and on both databases."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.orm import Session

from app.core.security import Principal, Scope
from app.keys import audit
from app.keys import service as key_service
from app.models.audit import UsedTime
from app.models.keys import Tenant
from app.models.states import State
from app.queue import leases, usage
from app.queue.states import Actor, transition

if TYPE_CHECKING:
    from tests.app.conftest import Api

BACKENDS = ("sqlite", "postgres")
JOB: dict[str, Any] = {"dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 10}}
WORKER = "wrk_01m7wewc2pfn6v37mwaesxmpy7"


def made(api: Api, path: str, **fields: Any) -> dict[str, Any]:
    answer = api.post(path, json=fields)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


def refused(answer: Any, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return str(answer.json()["detail"])


def actions(api: Api, **query: Any) -> list[str]:
    return [entry["action"] for entry in api.get("/v1/audit", params=query).json()["data"]]


class TestTenants:
    def test_a_tenant_is_made_with_the_key_of_its_first_admin(self, api: Api) -> None:
        tenant = made(api, "/v1/tenants", id="lab-two", name="Lab two", max_queued=3, weight=2)
        assert (tenant["name"], tenant["max_queued"], tenant["weight"]) == ("Lab two", 3, 2)
        admin = api.acting_as(tenant["key"]["key"])
        me = admin.get("/v1/me").json()
        assert (me["tenant_id"], me["scopes"], me["max_unfinished_jobs"]) == ("lab-two", ["admin"], 3)
        assert admin.get("/v1/jobs").json()["data"] == []
        shown = api.get("/v1/tenants/lab-two").json()
        assert (shown["id"], "key" in shown) == ("lab-two", False)
        assert [one["id"] for one in api.get("/v1/tenants").json()["data"]] == ["default", "lab-two"]

    def test_one_of_a_name_that_is_taken_is_refused(self, api: Api) -> None:
        assert "choose another" in refused(api.post("/v1/tenants", json={"id": "default"}), 422, "invalid")

    @pytest.mark.parametrize(
        "body",
        [{"id": "Lab"}, {"id": "a"}, {"id": "x" * 41}, {}, {"id": "lab", "weight": 0}, {"id": "lab", "max_queued": -1}],
    )
    def test_what_is_no_tenant_is_refused(self, api: Api, body: dict[str, Any]) -> None:
        refused(api.post("/v1/tenants", json=body), 422, "invalid")

    def test_limits_change_and_a_disabled_tenant_is_shut_out(self, api: Api) -> None:
        admin = api.acting_as(made(api, "/v1/tenants", id="lab", max_queued=1)["key"]["key"])
        made(admin, "/v1/jobs", **JOB)
        refused(admin.post("/v1/jobs", json=JOB), 429, "quota_exceeded")
        changed = api.patch("/v1/tenants/lab", json={"max_queued": None, "weight": 0.5}).json()
        assert (changed["max_queued"], changed["weight"]) == (None, 0.5)
        made(admin, "/v1/jobs", **JOB)
        assert api.patch("/v1/tenants/lab", json={"disabled": True}).json()["disabled_at"]
        api.state.keyring._known.clear()
        assert admin.get("/v1/me").status_code == 401
        assert api.patch("/v1/tenants/lab", json={"disabled": False}).json()["disabled_at"] is None
        assert admin.get("/v1/me").status_code == 200

    def test_operators_do_not_shut_themselves_out(self, api: Api) -> None:
        answer = api.patch("/v1/tenants/default", json={"disabled": True})
        assert "another operator" in refused(answer, 422, "invalid")
        assert "cannot be null" in refused(api.patch("/v1/tenants/default", json={"weight": None}), 422, "invalid")
        refused(api.patch("/v1/tenants/nobody", json={"weight": 1}), 404, "not_found")

    def test_admins_cannot_make_operators(self, api: Api, rival: Api) -> None:
        answer = rival.post("/v1/api-keys", json={"name": "more", "scopes": ["operator"]})
        assert "only a key that has it" in refused(answer, 422, "invalid")
        made(api, "/v1/api-keys", name="second", scopes=["operator"])

    def test_admins_cannot_rotate_the_key_of_an_operator(self, api: Api) -> None:
        operator = made(api, "/v1/api-keys", name="ops", scopes=["admin", "operator"])
        admin = api.acting_as(made(api, "/v1/api-keys", name="admin", scopes=["admin"])["key"])
        answer = admin.post(f"/v1/api-keys/{operator['id']}:rotate", json={})
        assert "has the scope 'operator'" in refused(answer, 403, "forbidden")
        assert api.acting_as(operator["key"]).get("/v1/tenants").status_code == 200
        assert set(made(api, f"/v1/api-keys/{operator['id']}:rotate")["scopes"]) == {"admin", "operator"}


class TestMembers:
    def test_a_key_can_do_no_more_than_the_role_of_its_member(self, api: Api) -> None:
        member = made(api, "/v1/members", email="Ada@Example.org", role="member")
        assert (member["email"], member["name"], member["role"]) == ("ada@example.org", "ada@example.org", "member")
        body = {"name": "hers", "member_id": member["id"], "scopes": ["admin"]}
        assert "ada@example.org is a member" in refused(api.post("/v1/api-keys", json=body), 422, "invalid")
        key = made(api, "/v1/api-keys", **(body | {"scopes": ["jobs:read", "jobs:write"]}))
        hers = api.acting_as(key["key"])
        assert key["member_id"] == member["id"]
        made(hers, "/v1/jobs", **JOB)
        api.patch(f"/v1/members/{member['id']}", json={"role": "viewer"})
        api.state.keyring._known.clear()
        assert hers.get("/v1/jobs").status_code == 200
        refused(hers.post("/v1/jobs", json=JOB), 403, "forbidden")
        api.patch(f"/v1/members/{member['id']}", json={"disabled": True})
        api.state.keyring._known.clear()
        refused(hers.get("/v1/jobs"), 401, "unauthenticated")
        answer = api.post("/v1/api-keys", json=body)
        assert "no such member who is not disabled" in refused(answer, 422, "invalid")

    @pytest.mark.parametrize("change", [{"disabled": True}, {"role": "member"}])
    def test_the_last_admin_stays_one(self, api: Api, change: dict[str, Any]) -> None:
        """A tenant whose only admin key belongs to a member could never undo it."""
        admin = api.acting_as(made(api, "/v1/tenants", id="lab-two")["key"]["key"])
        member = made(admin, "/v1/members", email="ada@example.org", role="admin")
        hers = made(admin, "/v1/api-keys", name="hers", member_id=member["id"], scopes=["admin"])
        (first,) = [key["id"] for key in admin.get("/v1/api-keys").json()["data"] if key["id"] != hers["id"]]
        ada = api.acting_as(hers["key"])
        assert ada.delete(f"/v1/api-keys/{first}").status_code == 204
        path = f"/v1/members/{member['id']}"
        assert "ada@example.org has the last working key" in refused(
            ada.patch(path, json=change), 409, "last_admin_key"
        )
        assert (ada.get(path).json()["role"], ada.get("/v1/members").status_code) == ("admin", 200)
        made(ada, "/v1/api-keys", name="spare", scopes=["admin"])
        assert ada.patch(path, json=change).status_code == 200

    def test_a_removed_one_loses_their_keys_and_leaves_a_trail(self, api: Api) -> None:
        member = made(api, "/v1/members", email="ada@example.org")
        keys = [made(api, "/v1/api-keys", name=name, member_id=member["id"]) for name in ("one", "two")]
        hers = api.acting_as(keys[0]["key"])
        job = made(hers, "/v1/jobs", **JOB)
        assert api.delete(f"/v1/members/{member['id']}").status_code == 204
        refused(hers.get("/v1/jobs"), 401, "unauthenticated")
        refused(api.delete(f"/v1/members/{member['id']}"), 404, "not_found")
        assert api.get("/v1/members").json()["data"] == []
        assert api.get(f"/v1/jobs/{job['id']}").status_code == 200
        (act,) = api.get("/v1/audit", params={"action": "member.remove"}).json()["data"]
        assert act["object_id"] == member["id"]
        assert act["details"] == {"email": "ada@example.org", "keys": sorted(key["id"] for key in keys)}
        assert made(api, "/v1/members", email="ada@example.org")["id"] != member["id"]

    def test_a_key_made_while_its_member_was_removed_is_nobodys(self, api: Api) -> None:
        member = made(api, "/v1/members", email="ada@example.org", role="viewer")
        api.delete(f"/v1/members/{member['id']}")
        with api.database.write() as session:
            _, late = key_service.create(
                session, api.state.signer, api.settings, tenant_id="default", name="late", scopes=[Scope.ADMIN],
                member_id=member["id"],
            )  # fmt: skip
        refused(api.acting_as(late.text).get("/v1/me"), 401, "unauthenticated")

    def test_the_last_admin_is_not_removed(self, api: Api) -> None:
        admin = api.acting_as(made(api, "/v1/tenants", id="lab-two")["key"]["key"])
        member = made(admin, "/v1/members", email="ada@example.org", role="admin")
        hers = made(admin, "/v1/api-keys", name="hers", member_id=member["id"], scopes=["admin"])
        (first,) = [key["id"] for key in admin.get("/v1/api-keys").json()["data"] if key["id"] != hers["id"]]
        ada = api.acting_as(hers["key"])
        assert ada.delete(f"/v1/api-keys/{first}").status_code == 204
        refused(ada.delete(f"/v1/members/{member['id']}"), 409, "last_admin_key")
        assert ada.get("/v1/members").status_code == 200
        made(ada, "/v1/api-keys", name="spare", scopes=["admin"])
        assert ada.delete(f"/v1/members/{member['id']}").status_code == 204

    def test_an_address_belongs_to_one_member_of_a_tenant(self, api: Api, rival: Api) -> None:
        made(api, "/v1/members", email="ada@example.org")
        assert "PATCH that one" in refused(api.post("/v1/members", json={"email": "ADA@example.org"}), 422, "invalid")
        made(rival, "/v1/members", email="ada@example.org")

    @pytest.mark.parametrize("email", ["ada", "a b@example.org", "ada@", "@example.org", "x" * 250 + "@example.org"])
    def test_what_is_no_address_is_refused(self, api: Api, email: str) -> None:
        refused(api.post("/v1/members", json={"email": email}), 422, "invalid")


class TestKeys:
    def test_a_rotated_key_works_on_for_a_while(self, api: Api) -> None:
        old = made(api, "/v1/api-keys", name="ci", scopes=["jobs:read"])
        new = made(api, f"/v1/api-keys/{old['id']}:rotate", grace_s=3600)
        assert (new["name"], new["scopes"]) == ("ci", ["jobs:read"])
        assert new["expires_at"] is None
        for key in (old, new):
            assert api.acting_as(key["key"]).get("/v1/jobs").status_code == 200
        listed = {key["id"]: key for key in api.get("/v1/api-keys").json()["data"]}
        assert listed[old["id"]]["expires_at"] is not None
        again = made(api, f"/v1/api-keys/{new['id']}:rotate", grace_s=0)
        assert api.acting_as(new["key"]).get("/v1/jobs").status_code == 401
        assert api.acting_as(again["key"]).get("/v1/jobs").status_code == 200
        refused(api.post(f"/v1/api-keys/{new['id']}:rotate"), 404, "not_found")

    def test_rotation_does_not_lengthen_a_life(self, api: Api) -> None:
        soon = datetime(2099, 1, 1, tzinfo=UTC).isoformat()
        old = made(api, "/v1/api-keys", name="ci", expires_at=soon)
        new = made(api, f"/v1/api-keys/{old['id']}:rotate", grace_s=60)
        assert new["expires_at"] == old["expires_at"]


class TestAudit:
    def test_acts_are_recorded_with_who_did_them_and_from_where(self, api: Api) -> None:
        job = made(api, "/v1/jobs", **JOB)
        api.post(f"/v1/jobs/{job['id']}:pause")
        api.post(f"/v1/jobs/{job['id']}:cancel", json={"reason": "enough"})
        request = api.delete(f"/v1/jobs/{job['id']}").headers["x-request-id"]
        assert actions(api, object=job["id"]) == ["job.delete", "job.cancel", "job.pause", "job.submit"]
        deleted, cancelled, *_ = api.get("/v1/audit", params={"object": job["id"]}).json()["data"]
        assert cancelled["details"]["reason"] == "enough"
        assert deleted["request_id"] == request
        assert deleted["address"] == "127.0.0.1"
        assert deleted["key_id"] == api.get("/v1/me").json()["key_id"]

    def test_keys_logins_and_members_are_recorded(self, api: Api) -> None:
        key = made(api, "/v1/api-keys", name="ci")
        made(api, f"/v1/api-keys/{key['id']}:rotate")
        api.delete(f"/v1/api-keys/{key['id']}")
        link = made(api, "/v1/login-links")
        assert api.acting_as(None).get(link["url"].removeprefix("http://test")).status_code == 303
        assert actions(api) == [
            "session.start", "login_link.create", "key.revoke", "key.rotate", "key.create",
        ]  # fmt: skip
        assert actions(api, action="key.revoke") == ["key.revoke"]

    def test_what_was_refused_is_not_recorded(self, api: Api) -> None:
        job = made(api, "/v1/jobs", **JOB)
        assert api.post(f"/v1/jobs/{job['id']}:retry").status_code == 409
        assert actions(api, object=job["id"]) == ["job.submit"]

    def test_the_log_tells_of_an_act_once_it_is_committed(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        """Neither at a savepoint, nor of what was taken back to one, nor of what was given up as a whole."""
        told: list[str] = []
        log = SimpleNamespace(info=lambda _, action, **__: told.append(action))
        monkeypatch.setattr(audit, "log", log)
        whom = Principal("default", None, frozenset())

        def give_up(session: Session, action: str) -> None:
            audit.record(session, whom, action)
            session.flush()
            raise KeyError

        with api.database.write() as session:
            audit.record(session, whom, "job.first")
            with suppress(KeyError), session.begin_nested():
                give_up(session, "job.taken_back")
            with session.begin_nested():
                audit.record(session, whom, "job.second")
            assert told == []
        with suppress(KeyError), api.database.write() as session:
            give_up(session, "job.given_up")
        assert told == ["job.first", "job.second"]
        assert actions(api) == ["job.second", "job.first"]

    def test_pages_follow_each_other_without_a_gap(self, api: Api) -> None:
        for number in range(5):
            made(api, "/v1/members", email=f"m{number}@example.org")
        seen, cursor = [], None
        while True:
            query = {"limit": 2, "action": "member.add"} | ({"cursor": cursor} if cursor else {})
            page = api.get("/v1/audit", params=query).json()
            seen += [entry["details"]["email"] for entry in page["data"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == [f"m{number}@example.org" for number in range(4, -1, -1)]
        first = api.get("/v1/audit", params={"limit": 2, "action": "member.add"}).json()["next_cursor"]
        refused(api.get("/v1/audit", params={"limit": 2, "cursor": first}), 400, "invalid_cursor")

    def test_one_needs_an_admin_key_and_sees_ones_own_tenant(self, api: Api, rival: Api) -> None:
        made(api, "/v1/jobs", **JOB)
        assert actions(rival) == []
        reader = api.acting_as(made(api, "/v1/api-keys", name="r", scopes=["jobs:read"])["key"])
        refused(reader.get("/v1/audit"), 403, "forbidden")


def run(api: Api, job_id: str, seconds: int) -> None:
    """Have a worker hold a job for so long, and give it back."""
    with api.database.write() as session:
        claimed = leases.claim(session, WORKER, "cpu", 60)
        assert claimed is not None
        assert claimed.job_id == job_id
    with api.database.write() as session:
        began = usage.attempt_of(session, job_id)
        assert 0 <= began.seconds < 60
    job = api.get(f"/v1/jobs/{job_id}").json()
    api.force(job_id, claimed_at=datetime.fromisoformat(job["started_at"]) - timedelta(seconds=seconds))
    with api.database.write() as session:
        assert transition(session, job_id, State.QUEUED, Actor.WORKER, fence=claimed.fence)


class TestUse:
    def test_what_jobs_hold_workers_for_is_charged_once(self, api: Api) -> None:
        job = made(api, "/v1/jobs", **JOB)
        run(api, job["id"], 600)
        run(api, job["id"], 300)
        found = api.get("/v1/usage").json()
        assert found["minutes"]["used"] == pytest.approx(15, abs=1)
        assert found["minutes"]["limit"] is None
        assert found["unfinished_jobs"] == {"used": 1, "limit": api.settings.max_queued}
        assert api.count(UsedTime) == 1
        month = datetime.now(UTC).strftime("%Y-%m")
        assert found["month"] in (month, usage.month_of(datetime.now(UTC)))
        assert datetime.fromisoformat(found["renews_at"]) > datetime.now(UTC)

    def test_a_month_that_is_used_up_refuses_more_and_says_when_it_renews(self, api: Api) -> None:
        job = made(api, "/v1/jobs", **JOB)
        run(api, job["id"], 600)
        api.patch("/v1/tenants/default", json={"max_month_minutes": 10})
        answer = api.post("/v1/jobs", json=JOB)
        assert "held workers for 10 minutes" in refused(answer, 429, "quota_exceeded")
        assert int(answer.headers["Retry-After"]) > 0
        api.patch("/v1/tenants/default", json={"max_month_minutes": 20})
        made(api, "/v1/jobs", **JOB)

    def test_operators_see_what_others_use(self, api: Api) -> None:
        made(api, "/v1/tenants", id="lab", max_running=2)
        found = api.get("/v1/tenants/lab/usage").json()
        assert (found["tenant_id"], found["running_jobs"]) == ("lab", {"used": 0, "limit": 2})


class TestFairShare:
    def order(self, api: Api, count: int) -> list[str]:
        """Tenants whose jobs are taken, one worker after another."""
        taken = []
        for number in range(count):
            with api.database.write() as session:
                claimed = leases.claim(session, f"wrk_{number:026d}", "cpu", 60)
            assert claimed is not None
            taken.append(claimed.tenant_id)
        return taken

    def test_the_first_job_of_another_is_next_whoever_floods(self, api: Api, rival: Api) -> None:
        for _ in range(30):
            made(api, "/v1/jobs", **JOB)
        assert self.order(api, 1) == ["default"]
        made(rival, "/v1/jobs", **JOB)
        assert self.order(api, 2) == ["rival", "default"]

    def test_a_tenant_of_twice_the_weight_gets_twice_as_many(self, api: Api, rival: Api) -> None:
        with api.database.write() as session:
            tenant = session.get(Tenant, "rival")
            assert tenant is not None
            tenant.weight = 2.0
        for _ in range(6):
            made(api, "/v1/jobs", **JOB)
            made(rival, "/v1/jobs", **JOB)
        taken = self.order(api, 6)
        assert (taken.count("rival"), taken.count("default")) == (4, 2)
