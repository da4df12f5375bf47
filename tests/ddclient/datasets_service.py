"""The resource ``/v1/datasets`` in miniature, with the faults that a network has."""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any

import httpx

SPAN = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


class DatasetsService(httpx.BaseTransport):
    """Reads a body as it comes, as a server does and ``httpx.MockTransport`` does not, and keeps it.

    A queue of faults says what happens to the next ``PUT`` requests. A fault is ``None`` for none, a number of bytes
    that are stored before the connection breaks, ``"lost"`` for an answer that never arrives, or an answer in place of
    the true one.
    """

    def __init__(self) -> None:
        self.sets: dict[str, dict[str, Any]] = {}
        self.bytes: dict[str, bytearray] = {}
        self.faults: deque[int | str | httpx.Response | None] = deque()
        self.requests: list[httpx.Request] = []
        self.others: dict[tuple[str, str], Any] = {}
        self.outcome: dict[str, Any] = {"state": "ready", "version": 1}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        method, path = request.method, request.url.path
        if (method, path) in self.others:
            return httpx.Response(200, json=self.others[method, path])
        if (method, path) == ("POST", "/v1/datasets"):
            return self._announce(json.loads(request.read()))
        if (method, path) == ("GET", "/v1/datasets"):
            wanted = request.url.params.get("name")
            newest = [one for one in reversed(self.sets.values()) if wanted in (None, one["name"])]
            return httpx.Response(200, json={"data": newest, "next_cursor": None})
        identity = path.removeprefix("/v1/datasets/").partition("/")[0]
        identity, colon, action = identity.partition(":")
        found = self.sets.get(identity)
        if found is None:
            return httpx.Response(404, json={"title": "Not found", "code": "not_found"})
        if method == "PUT":
            return self._receive(found, request)
        if method == "DELETE":
            del self.sets[identity]
            return httpx.Response(204)
        if colon and action == "ingest":
            found["options"] = json.loads(request.read())["options"]
            self._queue(found)
        elif found["state"] == "queued":
            found |= self.outcome
            found["reference"] = f"{found['name']}@{found['version']}" if found.get("version") else found["name"]
        return httpx.Response(200, json=found)

    def puts(self) -> list[httpx.Headers]:
        """Headers of the pieces, in their order."""
        return [request.headers for request in self.requests if request.method == "PUT"]

    def _announce(self, body: dict[str, Any]) -> httpx.Response:
        identity = f"set_{len(self.sets):026}"
        upload = {"file": body["file"], "size": body["size"], "received": 0, "kept": True}
        self.sets[identity] = {
            "id": identity, "name": body["name"], "reference": body["name"], "state": "receiving", "upload": upload,
            "options": body["options"],
        }  # fmt: skip
        self.bytes[identity] = bytearray()
        return httpx.Response(201, json=self.sets[identity])

    def _queue(self, found: dict[str, Any]) -> None:
        found["state"] = "queued"
        found["job"] = {"id": "job_1", "status": "queued", "done": 0, "total": None}

    def _receive(self, found: dict[str, Any], request: httpx.Request) -> httpx.Response:
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, httpx.Response):
            return fault
        stored, match = self.bytes[found["id"]], SPAN.fullmatch(request.headers["Content-Range"])
        assert match is not None
        total = int(match[3])
        start = total if match[1] is None else int(match[1])
        if found["state"] != "receiving" or start != len(stored):
            document = {"title": "Not here", "code": "upload_conflict", "received": len(stored)}
            return httpx.Response(409, json=document)
        body = bytearray()
        assert isinstance(request.stream, httpx.SyncByteStream)
        for chunk in request.stream:
            body += chunk
            if isinstance(fault, int) and len(body) >= fault:
                stored += body[:fault]
                found["upload"]["received"] = len(stored)
                raise httpx.WriteError("connection reset by peer")
        assert len(body) == int(request.headers["Content-Length"])
        assert match[1] is None or len(body) == int(match[2]) + 1 - start
        stored += body
        found["upload"]["received"] = len(stored)
        if len(stored) == total:
            found["digest"] = request.headers.get("Repr-Digest")
            self._queue(found)
        if fault == "lost":
            raise httpx.ReadTimeout("no answer")
        return httpx.Response(202 if found["state"] == "queued" else 200, json=found)


class AsyncDatasetsService(httpx.AsyncBaseTransport):
    """The same service for the client that awaits: bodies are collected up to the fault, if one is to come."""

    def __init__(self, service: DatasetsService) -> None:
        self._service = service

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fault = self._service.faults[0] if request.method == "PUT" and self._service.faults else None
        body = bytearray()
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for chunk in request.stream:
            body += chunk
            if isinstance(fault, int) and len(body) >= fault:
                break
        collected = httpx.Request(request.method, request.url, headers=request.headers, content=bytes(body))
        return self._service.handle_request(collected)
