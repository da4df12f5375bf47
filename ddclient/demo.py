"""The demonstration: the real service, a real job over REST, its bundle and its score."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddclient.bundle import Bundle
from ddclient.client import Client
from ddclient.embedded import Service
from ddclient.errors import ClientError, JobFailedError
from ddclient.job import Job
from ddclient.live import watch

PRESET = "quick/dm-mim-cmi-digits"
LONGEST_S = 900.0


@dataclass(frozen=True)
class Outcome:
    """What a demonstration showed: the finished job, its bundle, and the wall time of the job in seconds."""

    job: Job
    bundle: Bundle
    seconds: float


def demonstrate(service: Service, spec: Mapping[str, Any], out: Path) -> Outcome:
    """Send a job to a running service, show it until it ends, and fetch its bundle.

    Args:
        service: a started service.
        spec: the job.
        out: folder for the bundle.

    Raises:
        JobFailedError: the job did not succeed.
        ClientError: a process died, or the job took longer than a quarter of an hour.
    """
    with Client(service.url, service.api_key) as client:
        started = time.monotonic()
        job = client.submit(spec, name="demo")
        watch(job, timeout=LONGEST_S, check=service.check)
        seconds = time.monotonic() - started
        if not job.document.finished:
            raise ClientError(f"{job.id} is still {job.status} after {LONGEST_S / 60:g} minutes; giving up")
        if job.status != "succeeded":
            failure = job.document.error
            raise JobFailedError(job.id, job.status, failure.message if failure else None)
        return Outcome(job, client.download(job.id, out), seconds)
