"""Clients that open a connection and send nothing, or too little: a real server, over real sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
import uvicorn

from app.__main__ import Server, server_settings
from app.core.settings import Settings
from app.main import create_app, prepare

HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2000\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server that is impatient: half a second for a head, one for a body that does not come."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, auth=False, port=0, header_timeout_s=0.5, body_timeout_s=1.0)
    with serving(settings) as found:
        yield found


@contextmanager
def serving(settings: Settings) -> Iterator[int]:
    app = create_app(settings)
    prepare(app)
    server = Server(server_settings(app, settings), app)
    thread = threading.Thread(target=uvicorn.Server.run, args=(server,), daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(timeout=60)


def connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=60)
    made.settimeout(60)
    return made


def test_connections_without_a_whole_head_are_closed_and_others_served(port: int) -> None:
    half = [connected(port) for _ in range(60)]
    for number, one in enumerate(half):
        one.sendall(HEAD if number % 2 else b"")
    with closing(connected(port)) as other:
        other.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert other.recv(200).startswith(b"HTTP/1.1 200")
    for one in half:
        assert one.recv(100) == b""
        one.close()


def test_a_half_head_after_a_whole_request_is_not_waited_for_either(port: int) -> None:
    with closing(connected(port)) as one:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = one.recv(4000)
        while not answer.endswith(b"}"):
            answer += one.recv(4000)
        assert answer.startswith(b"HTTP/1.1 200")
        one.sendall(b"GET /healthz HT")
        assert one.recv(100) == b""


def test_a_body_that_stops_coming_is_refused(port: int) -> None:
    with closing(connected(port)) as one:
        one.sendall(HEAD + b"\r\n" + b'{"ipc": ')
        answer = b""
        while piece := one.recv(4000):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"code":"request_timeout"' in answer
        assert b"DD_BODY_TIMEOUT_S" in answer


def test_a_body_that_comes_slowly_but_steadily_is_taken(port: int) -> None:
    """Two KiB in pieces, over longer than a body may keep the service waiting."""
    with closing(connected(port)) as one:
        one.sendall(HEAD.replace(b"2000", b"3000") + b"\r\n")
        for _ in range(6):
            time.sleep(0.25)
            one.sendall(b" " * 500)
        assert one.recv(4000).startswith(b"HTTP/1.1 4")
