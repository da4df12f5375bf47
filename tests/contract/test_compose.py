"""The compose file says what it should, and its commands run a job on PostgreSQL and Redis."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis

from app.core.settings import Settings
from ddclient import Client, Job, UnreachableError
from ddclient.embedded import free_port
from tests.contract.compose import Machine, services
from tests.contract.conftest import ROOT, TINY

SECRETS = {"POSTGRES_PASSWORD": "p" * 48, "REDIS_PASSWORD": "r" * 48, "DD_PEPPER": "s" * 48}
OURS = ("api", "migrate", "reconciler", "worker-cpu", "worker-gpu")
REDIS_DATABASE = 13
LONG = TINY | {"method": {"name": "dm", "iterations": 800, "batch_real": 8}, "checkpoints": {"every": 100}}


def test_every_container_is_hardened() -> None:
    for name, service in services(SECRETS).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert ("ports" in service) == (name == "api"), name
        assert ("edge" in service["networks"]) == (name in ("api", "reconciler")), name


def test_the_images_run_as_an_ordinary_user_and_the_api_has_no_torch() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    stages = {stage.split()[0]: stage for stage in re.split(r"^FROM .* AS ", text, flags=re.MULTILINE)[1:]}
    for target in ("api", "worker"):
        assert "USER 10001:10001" in stages[target]
    assert "'.[server,postgres,s3,oidc,optuna]'" in stages["build-api"]
    assert "'.[worker,postgres,s3,optuna,zoo]'" in stages["build-worker"]
    assert "HEALTHCHECK" in stages["api"]


def test_whoever_plans_and_goes_on_with_studies_has_optuna() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    for build in ("build-api", "build-worker"):
        installed = re.search(r"'\.\[(.*)\]'", text.partition(f"AS {build}")[2])
        assert installed is not None
        assert "optuna" in installed[1].split(","), build


def test_secrets_come_from_the_env_file_only() -> None:
    listed = dict(line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if line[:1] != "#")
    assert all(listed[name] == "" for name in SECRETS)
    with pytest.raises(KeyError):
        services({})


def test_every_setting_exists_and_every_command_is_ours() -> None:
    known = {f"DD_{name.upper()}" for name in Settings.model_fields}
    found = services(SECRETS)
    for name in OURS:
        assert set(found[name]["environment"]) <= known, name
        assert found[name]["command"][:2] == ["python", "-m"]
        module = found[name]["command"][2].replace(".", "/")
        assert (ROOT / module / "__main__.py").is_file() or (ROOT / f"{module}.py").is_file()


def test_workers_get_time_to_save_their_state() -> None:
    found = services(SECRETS)
    assert found["worker-cpu"]["stop_grace_period"] == found["worker-gpu"]["stop_grace_period"] == "150s"
    assert Settings.model_fields["stop_grace_s"].default < 150
    assert (found["worker-cpu"]["profiles"], found["worker-gpu"]["profiles"]) == (["cpu"], ["gpu"])


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    """URL of an empty database, dropped afterwards."""
    parts = urlsplit(postgres_url)
    name = f"ddservice_compose_{os.getpid()}"
    with psycopg.connect(urlunsplit(parts._replace(scheme="postgresql")), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield urlunsplit(parts._replace(path=f"/{name}"))
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def broker(redis_url: str) -> Iterator[str]:
    """URL of a Redis database that only these tests use, emptied before and afterwards."""
    url = urlunsplit(urlsplit(redis_url)._replace(path=f"/{REDIS_DATABASE}"))
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()
        yield url
        connection.flushdb()


@pytest.fixture
def machine(database: str, broker: str, tmp_path: Path) -> Iterator[Machine]:
    found = services(SECRETS)
    addresses = {
        "DD_DATABASE_URL": database,
        "DD_BROKER_URL": broker,
        "DD_HOST": "127.0.0.1",
        "DD_PORT": str(free_port("127.0.0.1", 0)),
    }
    made = Machine(found, tmp_path, addresses)
    yield made
    made.stop()


def connect(machine: Machine) -> Client:
    """A client once the API is ready, with the key that its first start made."""
    url = f"http://127.0.0.1:{machine.replacements['DD_PORT']}"
    deadline = time.monotonic() + 60
    while True:
        try:
            with Client(url) as stranger:
                stranger.health()
            break
        except UnreachableError:
            assert time.monotonic() < deadline, machine.logs()
    return Client(url, (machine.folder / "api-1" / "api-key").read_text().strip())


def until_step(job: Job, step: int, machine: Machine) -> None:
    deadline = time.monotonic() + 90
    while (progress := job.refresh().document.progress) is None or progress.step < step:
        assert not job.document.finished, f"{job.document}\n{machine.logs()}"
        assert time.monotonic() < deadline, machine.logs()
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.redis
def test_the_commands_run_jobs_and_the_death_of_a_worker_loses_nothing(machine: Machine) -> None:
    assert machine.start("migrate").wait(60) == 0, machine.logs()
    machine.start("api")
    machine.start("reconciler")
    workers = [machine.start("worker-cpu", number) for number in (1, 2)]
    with connect(machine) as client:
        jobs = [client.submit(LONG | {"seed": seed}) for seed in (0, 1)]
        for job in jobs:
            until_step(job, 150, machine)
        holders = {worker["job_id"]: worker["pid"] for worker in client.workers() if worker["job_id"]}
        assert set(holders) == {job.id for job in jobs}
        victim = next(worker for worker in workers if worker.pid == holders[jobs[0].id])
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
        machine.running.remove(victim)
        lost, undisturbed = (job.wait(timeout=120).refresh() for job in jobs)
        assert (lost.document.attempt, undisturbed.document.attempt) == (2, 1)
        events = list(lost.events())
        assert [event.type for event in events].count("attempt.lost") == 1
        assert any(event.message.startswith("goes on after step") and event.data["step"] >= 100 for event in events)
        assert [point.step_max for point in lost.metrics(["loss"], max_points=5000)["loss"]] == list(range(1, 801))
        assert lost.download(machine.folder / "out").manifest["spec"]["seed"] == 0
    assert machine.stop() == [0, 0, 0, 0], machine.logs()
