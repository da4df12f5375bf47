"""What one tenant's flood costs another: ``python -m benchmarks.two_tenants``.

One tenant submits 1,000 jobs as fast as it is answered, opens 300 event streams and sends wrong keys without end. The
other one works as people do: it lists, reads and submits, a request after the other. Its times alone are the reference;
those after the flood tell whether the machine has changed meanwhile. Both speak over loopback to one API process, or to
several in turn. The flood comes from a process of its own, on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from app.core.database import Database
from app.core.settings import Settings
from app.queue import leases
from benchmarks.harness import RESULTS, machine

JOBS, STREAMS, SENDERS = 1000, 300, 4
ROUNDS = 120
SPEC: dict[str, Any] = {"dataset": "digits", "ipc": 1, "method": {"name": "dm", "iterations": 100}}
TLS = ssl.create_default_context()
"""Not needed over loopback, and made once: to make one for each of 300 streams would keep a core for seconds."""
WRONG = "dd_local_00000000_" + "x" * 43 + "_00000000"


@contextmanager
def service(database_url: str | None, processes: int) -> Iterator[tuple[list[str], Settings]]:
    """The addresses of API processes with an empty database, and their settings."""
    with TemporaryDirectory(prefix="two-tenants-") as home, ExitStack() as running:
        given = {"DD_HOME": home, "DD_LOG_LEVEL": "error"}
        given |= {} if database_url is None else {"DD_DATABASE_URL": database_url}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DD_")} | given
        if database_url is not None:
            subprocess.run([sys.executable, "-m", "app.migrate"], env=environment, check=True)
        addresses = [running.enter_context(_api(environment)) for _ in range(processes)]
        fields: dict[str, Any] = {name.removeprefix("DD_").lower(): value for name, value in given.items()}
        yield addresses, Settings(**fields)


@contextmanager
def _api(environment: dict[str, str]) -> Iterator[str]:
    """An API process on a free port, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "app"], env=environment | {"DD_PORT": str(port)})
    try:
        _await(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _await(address: str) -> None:
    for _ in range(600):
        with suppress(httpx.HTTPError):
            if httpx.get(f"{address}/healthz").status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(address)


def work(clients: Iterator[httpx.Client], rounds: int) -> list[float]:
    """Seconds of each request of somebody who works."""
    seconds: list[float] = []

    def timed(method: str, path: str, **options: Any) -> httpx.Response:
        client, begun = next(clients), time.perf_counter()
        answer = client.request(method, path, **options).raise_for_status()
        seconds.append(time.perf_counter() - begun)
        return answer

    for seed in range(rounds):
        job = timed("POST", "/v1/jobs", json={**SPEC, "seed": seed}).json()
        timed("GET", f"/v1/jobs/{job['id']}")
        timed("GET", "/v1/jobs", params={"limit": 20})
        timed("GET", "/v1/usage")
    return seconds


def client_of(address: str, key: str) -> httpx.Client:
    """A connection of somebody who has that key."""
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.Client(base_url=address, headers=headers, timeout=60, verify=TLS, trust_env=False)


class Flood:
    """What the other tenant does, until it is stopped."""

    def __init__(self, key: str, addresses: Sequence[str]) -> None:
        self._key, self._addresses = key, addresses
        self._stopped = threading.Event()
        self.answers: dict[str, int] = {}
        self._lock = threading.Lock()
        self._unopened = threading.Semaphore(0)

    def wait(self) -> None:
        """Until every stream is answered."""
        for _ in range(STREAMS):
            self._unopened.acquire()

    def run(self) -> None:
        """Everything at once."""
        with ThreadPoolExecutor(SENDERS + STREAMS + 1) as pool:
            begun = [pool.submit(self._submit, sender) for sender in range(SENDERS)]
            begun += [pool.submit(self._stream, number) for number in range(STREAMS)]
            begun.append(pool.submit(self._guess))
            for each in begun:
                each.result()

    def stop(self) -> None:
        """Have it end."""
        self._stopped.set()

    def _client(self, key: str, number: int = 0) -> httpx.Client:
        return client_of(self._addresses[number % len(self._addresses)], key)

    def _note(self, what: str, status: int) -> None:
        with self._lock:
            self.answers[f"{what} {status}"] = self.answers.get(f"{what} {status}", 0) + 1

    def _submit(self, sender: int) -> None:
        with self._client(self._key, sender) as client:
            for seed in range(sender, JOBS, SENDERS):
                if self._stopped.is_set():
                    return
                self._note("submission", client.post("/v1/jobs", json={**SPEC, "seed": seed}).status_code)

    def _stream(self, number: int) -> None:
        with self._client(self._key, number) as client, client.stream("GET", "/v1/events:stream") as answer:
            self._note("stream", answer.status_code)
            self._unopened.release()
            if answer.status_code == 200:
                for _ in answer.iter_raw():
                    if self._stopped.is_set():
                        return

    def _guess(self) -> None:
        with self._client(WRONG) as client:
            while not self._stopped.is_set():
                self._note("wrong key", client.get("/v1/jobs").status_code)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which a share of them lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(database_url: str | None, processes: int, rounds: int) -> dict[str, Any]:
    """Times alone and in the flood, and whose job is next."""
    with service(database_url, processes) as (addresses, settings):
        operator = client_of(addresses[0], settings.api_key_file.read_text().strip())
        keys = {}
        for tenant in ("calm", "loud"):
            answer = operator.post("/v1/tenants", json={"id": tenant, "max_queued": 5000}).raise_for_status()
            keys[tenant] = answer.json()["key"]["key"]
        calm = [client_of(address, keys["calm"]) for address in addresses]
        in_turn = cycle(calm)
        work(in_turn, rounds)  # everything has been imported and compiled then
        alone = work(in_turn, rounds)
        flooding = [sys.executable, "-m", "benchmarks.two_tenants", "--flood", keys["loud"], *addresses]
        with subprocess.Popen(flooding, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flood:
            if flood.stdout is None or not flood.stdout.readline():
                raise RuntimeError("the flood has not begun")
            begun = time.monotonic()
            beside = work(in_turn, rounds)
            seconds = time.monotonic() - begun
            answers = json.loads(flood.communicate("stop\n")[0])
        after = work(in_turn, rounds)
        for job in calm[0].get("/v1/jobs", params={"limit": 200}).json()["data"]:
            calm[0].post(f"/v1/jobs/{job['id']}:cancel")
        next_is = _next(settings, calm[0])
    times = {name: _times(found) for name, found in (("alone", alone), ("beside", beside), ("after", after))}
    ratios = {name: round(times["beside"][name] / times["alone"][name], 2) for name in times["alone"]}
    return {**times, "ratio": ratios, "flood_s": round(seconds, 1), "flood": answers, "next_job_of": next_is}


def _times(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{round(100 * share)}_ms": round(1000 * quantile(seconds, share), 2) for share in (0.5, 0.99)}


def _next(settings: Settings, calm: httpx.Client) -> str:
    """Whose job a worker takes after the loud tenant's first one, where the calm one submits its own last."""
    calm.post("/v1/jobs", json={**SPEC, "seed": 10**6}).raise_for_status()
    database = Database(settings)
    owners = []
    for _ in range(2):
        with database.write() as session:
            claim = leases.claim(session, "wrk_benchmark", "cpu", 600)
            owners.append("nobody" if claim is None else claim.tenant_id)
    database.dispose()
    return owners[1] if owners[0] == "loud" else owners[0]


def flood(key: str, *addresses: str) -> None:
    """Flood until a line comes, and print what was answered; an empty line tells when all of it is under way."""
    made = Flood(key, addresses)
    thread = threading.Thread(target=made.run)
    thread.start()
    made.wait()
    print(flush=True)
    sys.stdin.readline()
    made.stop()
    thread.join(60)
    print(json.dumps(dict(sorted(made.answers.items()))), flush=True)
    os._exit(0)  # streams that say nothing would keep their threads


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--flood"]:
        flood(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", help="an empty PostgreSQL database; by default SQLite in a folder of its own")
    parser.add_argument(
        "--processes", type=int, default=1, help="API processes, of which each request goes to the next"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of four requests each (default: {ROUNDS})")
    parser.add_argument("--keep", action="store_true", help="store it beside the other results")
    given = parser.parse_args()
    kind = "sqlite" if given.database_url is None else f"postgresql-{given.processes}"
    command = f"python -m benchmarks.two_tenants ({kind})"
    found = {"command": command, **machine(), **measure(given.database_url, given.processes, given.rounds)}
    text = json.dumps(found, indent=2) + "\n"
    if given.keep:
        (RESULTS / f"two-tenants-{kind}.json").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
