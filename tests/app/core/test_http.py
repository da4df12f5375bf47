"""What is the same for every request: problems, headers, limits, hosts."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import BrokenResourceError
from sqlalchemy.exc import OperationalError

from app.core.database import now
from app.core.errors import CODES
from app.core.middleware import SECURITY_HEADERS, RequestContext

if TYPE_CHECKING:
    from tests.app.conftest import Api

JSON = {"Content-Type": "application/json"}


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The problem document of a response that has to be one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"/problems/{code}"
    assert document["title"] == CODES[code].title
    assert document["instance"] == f"urn:request:{response.headers['x-request-id']}"
    assert "Traceback" not in response.text
    assert "site-packages" not in response.text
    assert "SELECT" not in response.text
    return document


class TestBodies:
    def test_malformed_json(self, api: Api) -> None:
        document = problem(api.post("/v1/jobs", content=b'{"ipc": ', headers=JSON), 400, "malformed_json")
        assert "character 8" in document["detail"]

    def test_not_utf8(self, api: Api) -> None:
        problem(api.post("/v1/jobs", content=b'{"a": "\xff"}', headers=JSON), 400, "malformed_json")

    def test_nested_without_end(self, api: Api) -> None:
        problem(api.post("/v1/jobs", content=b"[" * 100_000, headers=JSON), 400, "malformed_json")

    @pytest.mark.parametrize("body", [b"[1]", b'"dm"', b"3", b"null"])
    def test_not_an_object(self, api: Api, body: bytes) -> None:
        problem(api.post("/v1/jobs", content=body, headers=JSON), 422, "invalid")

    def test_empty(self, api: Api) -> None:
        document = problem(api.post("/v1/jobs", headers=JSON), 422, "invalid")
        assert "JSON object" in document["detail"]

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
    def test_wrong_media_type(self, api: Api, kind: str) -> None:
        document = problem(
            api.post("/v1/jobs", content=b"{}", headers={"Content-Type": kind}), 415, "unsupported_media_type"
        )
        assert kind in document["detail"]

    def test_no_media_type(self, api: Api) -> None:
        problem(api.post("/v1/jobs", content=b"{}"), 415, "unsupported_media_type")

    def test_announced_too_large(self, api: Api) -> None:
        body = b" " * (api.settings.body_limit + 1)
        document = problem(api.post("/v1/jobs", content=body, headers=JSON), 413, "body_too_large")
        assert str(api.settings.body_limit) in document["detail"]

    def test_too_large_without_announcement(self, api: Api) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 65_536
                yield b" " * 65_536

        problem(api.post("/v1/jobs", content=endless(), headers=JSON), 413, "body_too_large")
        assert sent <= api.settings.body_limit + 2 * 65_536

    def test_largest_allowed_is_read(self, api: Api, spec: dict[str, Any]) -> None:
        body = json.dumps(spec).encode()
        padded = body + b" " * (api.settings.body_limit - len(body))
        assert api.post("/v1/jobs:validate", content=padded, headers=JSON).status_code == 200


class TestAddresses:
    def test_unknown(self, api: Api) -> None:
        problem(api.get("/v1/nothing"), 404, "not_found")

    def test_wrong_method_lists_the_right_ones(self, api: Api) -> None:
        response = api.request("PUT", "/v1/jobs")
        problem(response, 405, "method_not_allowed")
        assert response.headers["allow"] == "GET, HEAD, POST"

    def test_misspelt_query_parameter(self, api: Api) -> None:
        document = problem(api.get("/v1/jobs?statsu=queued"), 400, "unknown_parameter")
        assert "`status`" in document["detail"]

    def test_query_parameter_out_of_range(self, api: Api) -> None:
        document = problem(api.get("/v1/jobs?limit=500"), 400, "invalid_parameter")
        assert "500" in document["detail"]
        assert "200" in document["detail"]

    @pytest.mark.parametrize(
        "address",
        [
            f"/v1/jobs/job_01m7wewc2pfn6v37mwaesxmpy7:{verb}"
            for verb in ("cancel", "pause", "resume", "retry", "rerun", "clone")
        ]
        + ["/v1/studies/study_01m7wewc2pfn6v37mwaesxmpy7:pause", "/v1/datasets/set_01m7wewc2pfn6v37mwaesxmpy7:ingest"],
    )
    def test_verb_is_not_read_as_an_id(self, api: Api, address: str) -> None:
        for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE"):
            response = api.request(method, address)
            assert (response.status_code, response.headers["allow"]) == (405, "POST")

    def test_head_has_the_headers_of_get(self, api: Api) -> None:
        asked, known = api.request("HEAD", "/v1/jobs"), api.get("/v1/jobs")
        assert (asked.status_code, asked.content) == (200, b"")
        for name in ("content-type", "content-length"):
            assert asked.headers[name] == known.headers[name]
        assert api.request("HEAD", "/v1/nothing").status_code == 404


class TestHosts:
    @pytest.mark.parametrize("host", ["evil.example", "test.evil.example", "", "127.0.0.1:8000"])
    def test_others_are_refused(self, api: Api, host: str) -> None:
        problem(api.get("/healthz", headers={"Host": host}), 421, "wrong_host")

    @pytest.mark.parametrize("host", ["test", "TEST:9000"])
    def test_own_are_served(self, api: Api, host: str) -> None:
        assert api.get("/healthz", headers={"Host": host}).status_code == 200


class TestHeaders:
    @pytest.mark.parametrize("path", ["/healthz", "/v1/jobs", "/v1/nothing", "/openapi.json"])
    def test_security_headers_are_everywhere(self, api: Api, path: str) -> None:
        response = api.get(path)
        for name, value in SECURITY_HEADERS.items():
            assert response.headers[name] == value
        assert "server" not in response.headers

    def test_no_cross_origin_permission(self, api: Api) -> None:
        response = api.get("/v1/jobs", headers={"Origin": "https://evil.example"})
        assert not [name for name in response.headers if name.startswith("access-control-")]

    def test_request_id_is_taken_over(self, api: Api) -> None:
        assert api.get("/healthz", headers={"X-Request-Id": "abc-123"}).headers["x-request-id"] == "abc-123"

    @pytest.mark.parametrize("given", ["a b", "x" * 65, "a/b", "<script>"])
    def test_strange_request_id_is_replaced(self, api: Api, given: str) -> None:
        assert re.fullmatch(
            r"[0-9a-f]{16}", api.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"]
        )


class TestFailures:
    def test_unforeseen_error_says_nothing(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("the secret is hunter2")

        monkeypatch.setattr(api.state.keyring, "by_key", fail)
        response = api.get("/v1/jobs")
        problem(response, 500, "internal")
        assert "hunter2" not in response.text
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    def test_database_down_is_temporary(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OperationalError("SELECT 1", {}, Exception("connection refused at 10.0.0.5"))

        monkeypatch.setattr(api.state.keyring, "by_key", fail)
        response = api.get("/v1/jobs")
        document = problem(response, 503, "unavailable")
        assert int(response.headers["retry-after"]) >= 1
        assert "10.0.0.5" not in document["detail"]

    def test_locked_database_is_temporary(
        self, api: Api, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process holds SQLite's write lock for longer than a request waits."""
        monkeypatch.setattr("app.core.database.BUSY_TIMEOUT_MS", 50)
        api.database.dispose()
        with api.database.write() as session:
            now(session)
            problem(api.post("/v1/jobs", json=spec), 503, "unavailable")
        assert api.post("/v1/jobs", json=spec).status_code == 201


def test_every_problem_has_its_page(api: Api) -> None:
    listed = {item["code"] for item in api.get("/problems").json()["data"]}
    assert listed == set(CODES)
    for code in CODES:
        page = api.get(f"/problems/{code}").json()
        assert page["description"] == CODES[code].__doc__
    problem(api.get("/problems/none"), 404, "not_found")


class TestLeaving:
    """What is raised when nobody reads an answer any more is no failure of the service."""

    @staticmethod
    def serve(error: Exception, *, begun: bool = True) -> list[Any]:
        sent: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if begun:
                await send({"type": "http.response.start", "status": 200, "headers": []})
            raise error

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/v1/events:stream", "scheme": "http", "headers": []}
        anyio.run(RequestContext(app), scope, receive, send)
        return sent

    def test_a_stream_that_is_left_ends_quietly(self) -> None:
        left = ExceptionGroup("", [BrokenResourceError(), ExceptionGroup("", [BrokenResourceError()])])
        assert [message["type"] for message in self.serve(left)] == ["http.response.start"]

    def test_what_else_goes_wrong_beside_it_does_not(self) -> None:
        with pytest.raises(ExceptionGroup):
            self.serve(ExceptionGroup("", [BrokenResourceError(), ValueError("a fault of ours")]))

    def test_before_the_answer_it_is_one(self) -> None:
        assert self.serve(BrokenResourceError(), begun=False)[0]["status"] == 500
