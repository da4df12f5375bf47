"""The pages of the team: what they show to each role, and what their forms do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.app.conftest import Api

ORIGIN = {"Origin": "http://test"}
SECRET = re.compile(r"dd_local_[0-9a-z]{8}_[\w-]{43}_[0-9a-f]{8}")


def posted(api: Api, path: str, **form: str) -> Any:
    return api.post(path, data=form, headers=ORIGIN)


def test_a_key_is_made_shown_once_and_works(api: Api) -> None:
    answer = posted(api, "/team/keys", name="for <b>CI</b>", **{"jobs:read": "on"})
    assert answer.status_code == 200
    (secret,) = set(SECRET.findall(answer.text))
    assert api.acting_as(secret).get("/v1/me").json()["scopes"] == ["jobs:read"]
    page = api.get("/team").text
    assert secret not in page
    assert "for &lt;b&gt;CI&lt;/b&gt;" in page


def test_a_key_is_rotated_and_revoked(api: Api) -> None:
    made = api.post("/v1/api-keys", json={"name": "ci"}).json()
    (secret,) = set(SECRET.findall(posted(api, f"/team/keys/{made['id']}/rotate").text))
    assert secret != made["key"]
    assert posted(api, f"/team/keys/{made['id']}/revoke").headers["location"] == "/team"
    assert api.acting_as(made["key"]).get("/v1/me").status_code == 401
    refused = posted(api, f"/team/keys/{made['id']}/revoke")
    assert refused.status_code == 404
    assert "Back to the team" in refused.text


def test_members_are_added_and_disabled(api: Api) -> None:
    assert posted(api, "/team/members", email="ada@example.org", role="viewer").status_code == 303
    (member,) = api.get("/v1/members").json()["data"]
    assert "ada@example.org" in api.get("/team").text
    posted(api, f"/team/members/{member['id']}/disable")
    assert api.get(f"/v1/members/{member['id']}").json()["disabled_at"]
    posted(api, f"/team/members/{member['id']}/enable")
    assert api.get(f"/v1/members/{member['id']}").json()["disabled_at"] is None


def test_members_are_removed_with_their_keys(api: Api) -> None:
    member = api.post("/v1/members", json={"email": "ada@example.org"}).json()["id"]
    key = api.post("/v1/api-keys", json={"name": "hers", "member_id": member}).json()["key"]
    assert "Unlink ada@example.org" not in api.get("/team").text
    assert posted(api, f"/team/members/{member}/remove").headers["location"] == "/team"
    assert api.acting_as(key).get("/v1/me").status_code == 401
    page = api.get("/team").text
    assert ("ada@example.org" in page, "a former member" in page) == (False, True)
    refused = posted(api, f"/team/members/{member}/remove")
    assert (refused.status_code, "you have no member" in refused.text.lower()) == (404, True)


def test_what_a_form_lacks_is_said(api: Api) -> None:
    refused = posted(api, "/team/keys", name="")
    assert refused.status_code == 422
    assert "name" in refused.text
    assert "is no e-mail address" in posted(api, "/team/members", email="ada", role="viewer").text


def test_what_was_done_is_listed_and_leads_on(api: Api, spec: dict[str, Any]) -> None:
    job = api.submit(spec)
    posted(api, "/team/members", email="ada@example.org", role="viewer")
    page = api.get("/team/audit").text
    assert "job.submit" in page
    assert job["id"] in page
    only = api.get("/team/audit", params={"object": job["id"]}).text
    assert "job.submit" in only
    assert "member.add" not in only
    assert "Nothing was recorded" in api.get("/team/audit", params={"object": "job_nothing"}).text


def test_pages_lead_to_earlier_acts(api: Api) -> None:
    for number in range(60):
        api.post("/v1/members", json={"email": f"m{number}@example.org"})
    first = api.get("/team/audit").text
    (onward,) = re.findall(r'href="(/team/audit\?cursor=[^"]+)"', first)
    second = api.get(onward).text
    assert "m59@example.org" in first
    assert "m0@example.org" in second
    assert "m59@example.org" not in second
    assert "Earlier acts" not in second


def test_only_admins_see_keys_and_members(api: Api) -> None:
    reader = api.acting_as(api.post("/v1/api-keys", json={"name": "reader", "scopes": ["jobs:read"]}).json()["key"])
    page = reader.get("/team")
    assert page.status_code == 200
    assert "Minutes of workers" in page.text
    assert "reader" not in page.text
    assert reader.get("/team/audit").status_code == 403
    assert posted(reader, "/team/keys", name="mine").status_code == 403
    assert api.acting_as(None).get("/team").status_code == 401


def test_forms_of_other_sites_are_refused(api: Api) -> None:
    answer = api.post("/team/keys", data={"name": "x", "admin": "on"}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


def test_the_work_that_is_unfinished_is_shown_beside_its_bound(api: Api) -> None:
    page = api.get("/team").text
    assert "Hours of work that they still need" in page
    api.patch("/v1/tenants/default", json={"max_work_hours": 1234.5})
    assert "of 1,234.5" in api.get("/team").text
