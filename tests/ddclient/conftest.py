"""A service in miniature, for tests of the client alone; the real one is driven in tests/contract."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ddclient import Client

Handler = Callable[[httpx.Request], httpx.Response]
JOB_ID = "job_" + "a" * 26
SECONDS = {"low": 30.0, "expected": 45.0, "high": 70.0, "measured": True, "basis": "from 2 jobs of dm on digits"}
VALIDATION = {
    "object": "validation",
    "spec": {"dataset": "digits", "ipc": 2, "method": {"name": "dm"}},
    "warnings": ["no worker is alive"],
    "plan": [],
    "estimate": {"seconds": {"cpu": SECONDS}, "peak_bytes": {"cpu": 950_000_000}, "basis": SECONDS["basis"]},
}
"""What a job should cost, as the service answers."""


class FakeService:
    """Answers by path; keeps every request it got."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.routes: dict[tuple[str, str], Handler] = {}
        self.on("POST", "/v1/jobs:validate", VALIDATION)

    def on(self, method: str, path: str, *answers: object) -> None:
        """Give ``answers`` in turn, the last one for ever: documents, responses, handlers or exceptions."""
        queue = list(answers)

        def handler(request: httpx.Request) -> httpx.Response:
            answer = queue.pop(0) if len(queue) > 1 else queue[0]
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, httpx.Response):
                return answer
            return answer(request) if callable(answer) else httpx.Response(200, json=answer)

        self.routes[method, path] = handler

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        handler = self.routes.get((request.method, request.url.path))
        if handler is None:
            return httpx.Response(404, json={"title": "Not found", "status": 404, "code": "not_found"})
        return handler(request)

    def bodies(self, method: str, path: str) -> list[Any]:
        """The JSON bodies of the requests to ``path``."""
        return [json.loads(r.content) for r in self.requests if (r.method, r.url.path) == (method, path)]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test of the client sees a service or a key of this machine, or waits for its patience."""
    for name in ("DD_URL", "DD_API_KEY", "DD_HOST", "DD_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("ddclient.transport._pause", lambda state: 0.0)
    monkeypatch.setattr("ddclient.events.PAUSE_S", 0.0)


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    with Client("http://service.test", "dd_key", transport=httpx.MockTransport(service)) as made:
        yield made


def job_document(status: str = "running", **fields: Any) -> dict[str, Any]:
    """A job as the service shows it."""
    spec = {"dataset": "digits", "ipc": 2, "method": {"name": "dm"}, "regularizers": [{"name": "cmi"}]}
    return {"id": JOB_ID, "object": "job", "status": status, "version": 1, "spec": spec, **fields}


def bundle_zip(files: dict[str, bytes] | None = None, listed: dict[str, str] | None = None) -> bytes:
    """A bundle with a manifest that lists its files by SHA-256 (or lists what ``listed`` says)."""
    files = {"distilled.safetensors": b"tensors" * 100, "data/train-00000-of-00001.parquet": b"rows"} | (files or {})
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()} | (listed or {})
    facts = {name: {"sha256": digest} for name, digest in digests.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("manifest.json", json.dumps({"schema_version": 1, "files": facts}))
    return buffer.getvalue()


def artifact_document(content: bytes, **fields: Any) -> dict[str, Any]:
    """A bundle as the list of artifacts shows it."""
    return {
        "id": "art_1",
        "kind": "bundle",
        "name": "bundle.zip",
        "state": "ready",
        "media_type": "application/zip",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **fields,
    }
