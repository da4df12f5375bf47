"""What one tenant's flood costs another: ``python -m benchmarks.two_tenants``.

One tenant submits 1,000 jobs as fast as it is answered, opens 300 event streams and sends wrong keys without end. The
other one works as people do: it lists, reads and submits, a request after the other. Its times alone are the reference.
Both speak to one API process over loopback. The flood comes from a process of its own, on the same machine.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
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
WRONG = "dd_local_00000000_" + "x" * 43 + "_00000000"


@contextmanager
def service(database_url: str | None) -> Iterator[tuple[str, Settings]]:
    """An API process with an empty database, and its settings."""
    with TemporaryDirectory(prefix="two-tenants-") as home, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        given = {"DD_HOME": home, "DD_PORT": str(port), "DD_LOG_LEVEL": "error"}
        given |= {} if database_url is None else {"DD_DATABASE_URL": database_url}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DD_")} | given
        if database_url is not None:
            subprocess.run([sys.executable, "-m", "app.migrate"], env=environment, check=True)
        process = subprocess.Popen([sys.executable, "-m", "app"], env=environment)
        try:
            address = f"http://127.0.0.1:{port}"
            _await(address)
            fields: dict[str, Any] = {name.removeprefix("DD_").lower(): value for name, value in given.items()}
            yield address, Settings(**fields)
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


def work(client: httpx.Client) -> list[float]:
    """Seconds of each request of somebody who works."""
    seconds: list[float] = []

    def timed(method: str, path: str, **options: Any) -> httpx.Response:
        begun = time.perf_counter()
        answer = client.request(method, path, **options).raise_for_status()
        seconds.append(time.perf_counter() - begun)
        return answer

    for seed in range(ROUNDS):
        job = timed("POST", "/v1/jobs", json={**SPEC, "seed": seed}).json()
        timed("GET", f"/v1/jobs/{job['id']}")
        timed("GET", "/v1/jobs", params={"limit": 20})
        timed("GET", "/v1/usage")
    return seconds


class Flood:
    """What the other tenant does, until it is stopped."""

    def __init__(self, address: str, key: str) -> None:
        self._address, self._key = address, key
        self._stopped = threading.Event()
        self.answers: dict[str, int] = {}
        self._lock = threading.Lock()

    def run(self) -> None:
        """Everything at once."""
        with ThreadPoolExecutor(SENDERS + STREAMS + 1) as pool:
            begun = [pool.submit(self._submit, sender) for sender in range(SENDERS)]
            begun += [pool.submit(self._stream) for _ in range(STREAMS)]
            begun.append(pool.submit(self._guess))
            for each in begun:
                each.result()

    def stop(self) -> None:
        """Have it end."""
        self._stopped.set()

    def _client(self, key: str) -> httpx.Client:
        return httpx.Client(base_url=self._address, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def _note(self, what: str, status: int) -> None:
        with self._lock:
            self.answers[f"{what} {status}"] = self.answers.get(f"{what} {status}", 0) + 1

    def _submit(self, sender: int) -> None:
        with self._client(self._key) as client:
            for seed in range(sender, JOBS, SENDERS):
                if self._stopped.is_set():
                    return
                self._note("submission", client.post("/v1/jobs", json={**SPEC, "seed": seed}).status_code)

    def _stream(self) -> None:
        with self._client(self._key) as client, client.stream("GET", "/v1/events:stream") as answer:
            self._note("stream", answer.status_code)
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


def measure(database_url: str | None) -> dict[str, Any]:
    """Times alone and in the flood, and whose job is next."""
    with service(database_url) as (address, settings):
        operator = httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {settings.api_key_file.read_text().strip()}"}
        )
        keys = {}
        for tenant in ("calm", "loud"):
            answer = operator.post("/v1/tenants", json={"id": tenant, "max_queued": 5000}).raise_for_status()
            keys[tenant] = answer.json()["key"]["key"]
        calm = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {keys['calm']}"}, timeout=60)
        work(calm)  # everything has been imported and compiled then
        alone = work(calm)
        flooding = [sys.executable, "-m", "benchmarks.two_tenants", "--flood", address, keys["loud"]]
        with subprocess.Popen(flooding, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as flood:
            time.sleep(5)
            beside = work(calm)
            answers = json.loads(flood.communicate("stop\n")[0])
        for job in calm.get("/v1/jobs", params={"limit": 200}).json()["data"]:
            calm.post(f"/v1/jobs/{job['id']}:cancel")
        next_is = _next(settings, calm)
    times = {
        name: {f"p{round(100 * share)}_ms": round(1000 * quantile(seconds, share), 2) for share in (0.5, 0.99)}
        for name, seconds in (("alone", alone), ("beside", beside))
    }
    ratios = {name: round(times["beside"][name] / times["alone"][name], 2) for name in times["alone"]}
    return {**times, "ratio": ratios, "flood": answers, "next_job_of": next_is}


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


def flood(address: str, key: str) -> None:
    """Flood until a line comes, and print what was answered."""
    made = Flood(address, key)
    thread = threading.Thread(target=made.run)
    thread.start()
    sys.stdin.readline()
    made.stop()
    thread.join(60)
    print(json.dumps(dict(sorted(made.answers.items()))), flush=True)
    os._exit(0)  # streams that say nothing would keep their threads


def main() -> None:
    """Measure, print and store."""
    if sys.argv[1:2] == ["--flood"]:
        flood(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", help="an empty PostgreSQL database; by default SQLite in a folder of its own")
    parser.add_argument("--out", type=Path, help="where to store it; by default beside the other results")
    arguments = parser.parse_args()
    kind = "sqlite" if arguments.database_url is None else "postgresql"
    found = {"command": f"python -m benchmarks.two_tenants ({kind})", **machine(), **measure(arguments.database_url)}
    text = json.dumps(found, indent=2) + "\n"
    (arguments.out or RESULTS / f"two-tenants-{kind}.json").write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
