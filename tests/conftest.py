"""What a test may need from its surroundings, and what happens where it is missing.

A test marked ``data``, ``postgres``, ``redis``, ``browser`` or ``gpu`` is skipped, with the reason, where
that is absent; but it *fails* where ``DD_REQUIRE`` (a comma-separated list of those names) demands it, so
that a continuous-integration run cannot pass by skipping.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

DATA_ROOT = os.environ.get("DD_DATA_ROOT") or os.environ.get("DD_TEST_DATA_ROOT")
if DATA_ROOT is not None:
    os.environ["DD_TEST_DATA_ROOT"] = DATA_ROOT  # for the processes that share the suite with this one
for _name in list(os.environ):
    # The settings of the caller are not those of the services that the tests start.
    if _name.startswith("DD_") and not _name.startswith(("DD_TEST_", "DD_REQUIRE")):
        del os.environ[_name]

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores, each with as many threads as cores, would stand in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background commands deaf to Ctrl-C, and they pass that on to all they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

POSTGRES_URL = os.environ.get("DD_TEST_POSTGRES", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
REDIS_URL = os.environ.get("DD_TEST_REDIS", "redis://127.0.0.1:6379/15")


def _listens(url: str, default_port: int) -> str | None:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or default_port), timeout=1):
            return None
    except OSError as error:
        return f"nothing listens at {parts.hostname}:{parts.port or default_port} ({error})"


def _data() -> str | None:
    if DATA_ROOT is None:
        return "DD_DATA_ROOT is not set"
    missing = [name for name in ("cifar10", "mnist") if not (Path(DATA_ROOT) / name).is_dir()]
    return f"DD_DATA_ROOT holds no {' and no '.join(missing)}" if missing else None


def _gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no CUDA device"


NEEDS: dict[str, Callable[[], str | None]] = {
    "postgres": cache(lambda: _listens(POSTGRES_URL, 5432)),
    "redis": cache(lambda: _listens(REDIS_URL, 6379)),
    "data": cache(_data),
    "browser": cache(lambda: None if shutil.which("chromium") else "chromium is not installed"),
    "gpu": cache(_gpu),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    required = {name.strip() for name in os.environ.get("DD_REQUIRE", "").split(",") if name.strip()}
    for name, missing in NEEDS.items():
        if item.get_closest_marker(name) is None:
            continue
        reason = missing()
        if reason is None:
            continue
        if name in required:
            pytest.fail(f"DD_REQUIRE demands {name}, but {reason}", pytrace=False)
        pytest.skip(f"{name}: {reason}")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real datasets; the test must carry the marker ``data``."""
    if DATA_ROOT is None:
        pytest.fail("a test uses `data_root` without the marker `data`")
    return Path(DATA_ROOT).resolve()


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """SQLAlchemy URL of a server on which a test may create databases of its own."""
    return POSTGRES_URL


@pytest.fixture(scope="session")
def redis_url() -> str:
    """URL of a Redis database that a test may use and empty."""
    return REDIS_URL
