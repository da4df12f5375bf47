"""The pages of webhooks: what they show to each role, and what their forms do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from app.core.security import Scope
from app.webhooks import deliveries
from app.webhooks.sending import Outcome

if TYPE_CHECKING:
    from tests.app.conftest import Api

ORIGIN = {"Origin": "http://test"}
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")
URL = "https://hooks.example.org/?a=<b>"


def posted(api: Api, path: str, **form: Any) -> Any:
    return api.post(path, data=form, headers=ORIGIN)


def only(api: Api) -> dict[str, Any]:
    (webhook,) = api.get("/v1/webhooks").json()["data"]
    found: dict[str, Any] = webhook
    return found


def test_one_is_made_and_its_secret_shown_once(api: Api) -> None:
    assert "Nobody yet" in api.get("/team/webhooks").text
    answer = posted(api, "/team/webhooks", url=URL, description="ours", event=["job.failed", "alert.*"])
    assert answer.status_code == 200
    assert len(set(SECRET.findall(answer.text))) == 1
    webhook = only(api)
    assert (webhook["url"], webhook["events"], webhook["description"]) == (URL, ["alert.*", "job.failed"], "ours")
    for path in ("/team/webhooks", f"/team/webhooks/{webhook['id']}"):
        page = api.get(path).text
        assert "https://hooks.example.org/?a=&lt;b&gt;" in page
        assert not SECRET.search(page)


def test_what_a_form_gets_wrong_is_said(api: Api) -> None:
    refused = posted(api, "/team/webhooks", url="http://10.0.0.1/", event=["job.failed"])
    assert refused.status_code == 422
    assert "it must be https" in refused.text
    assert "Back to the webhooks" in refused.text
    assert "at least 1 item" in posted(api, "/team/webhooks", url=URL).text
    assert posted(api, "/team/webhooks", url="here", event=["job.failed"]).status_code == 422


def test_a_test_is_sent_watched_and_sent_again(api: Api) -> None:
    posted(api, "/team/webhooks", url=URL, event=["job.failed"])
    webhook = only(api)
    where = posted(api, f"/team/webhooks/{webhook['id']}/test").headers["location"]
    waiting = api.get(where).text
    assert "data-look-again" in waiting
    with api.database.write() as session:
        (message,) = deliveries.take(session, api.settings, api.state.signer, webhook["id"], 1, 60)
        deliveries.settle(session, api.settings, message, Outcome(0.25, 500, "answered 500", "<b>no</b>"))
    tried = api.get(where).text
    assert "data-look-again" not in tried
    assert "answered 500" in tried
    assert "&lt;b&gt;no&lt;/b&gt;" in tried
    assert "nothing has happened" in tried
    assert posted(api, f"{where}/redeliver").headers["location"] == where
    listed = api.get(f"/team/webhooks/{webhook['id']}?state=pending").text
    assert "webhook.test" in listed
    assert "There are none that are failed" in api.get(f"/team/webhooks/{webhook['id']}?state=failed").text


def test_it_is_disabled_enabled_given_a_new_secret_and_deleted(api: Api) -> None:
    posted(api, "/team/webhooks", url=URL, event=["*"])
    webhook = only(api)
    path = f"/team/webhooks/{webhook['id']}"
    posted(api, f"{path}/disable")
    assert only(api)["disabled_why"] == "asked"
    assert "Enable" in api.get(path).text
    assert "enable it first" in posted(api, f"{path}/test").text
    posted(api, f"{path}/enable")
    assert only(api)["disabled_at"] is None
    assert SECRET.search(posted(api, f"{path}/rotate").text)
    assert "The last secret signs too" in api.get(path).text
    assert posted(api, f"{path}/delete").headers["location"] == "/team/webhooks"
    assert api.get("/v1/webhooks").json()["data"] == []
    assert api.get(path).status_code == 404


def test_they_are_for_admins_and_for_our_own_pages(api: Api) -> None:
    posted(api, "/team/webhooks", url=URL, event=["*"])
    path = f"/team/webhooks/{only(api)['id']}"
    reader = api.acting_as(api.key(scopes=(Scope.JOBS_READ,)))
    for each in ("/team/webhooks", path):
        assert reader.get(each).status_code == 403
        assert api.acting_as(None).get(each).status_code == 401
    assert posted(reader, f"{path}/delete").status_code == 403
    assert api.post(f"{path}/delete", headers={"Origin": "http://elsewhere"}).status_code == 403
    assert only(api)["disabled_at"] is None
