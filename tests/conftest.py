"""What a test may need from its surroundings, and what happens where it is missing.

A test marked ``data``, ``postgres``, ``redis``, ``browser``, ``mount`` or ``gpu`` is skipped, with the reason, where
that is absent; but it *fails* where ``DD_REQUIRE`` (a comma-separated list of those names) demands it, so
that a continuous-integration run cannot pass by skipping.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import URL, Engine, create_engine

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

# Each of hundreds of processes would compile all the modules that it imports, and this one those of the tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

IN_MEMORY, ROOM = Path("/dev/shm"), 6 * 2**30
if IN_MEMORY.is_dir() and os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free > ROOM:
    # Nearly every test syncs files, and waits milliseconds for a disk each time; what it kills are processes, not
    # machines. Another folder is chosen by the same variable, or by `--basetemp`.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))

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


def _browser() -> str | None:
    from benchmarks.chromium import executable

    return None if executable() else "chromium is not installed"


def _gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "no CUDA device"


def _mount() -> str | None:
    """Nothing where a file system can be mounted, which is tried: root in a container may be forbidden to."""
    from tests.chaos.disks import small

    try:
        with TemporaryDirectory() as folder, small(Path(folder), 4096):
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr.decode().strip() if isinstance(error, subprocess.CalledProcessError) else error
        return f"no file system can be mounted ({said})"


NEEDS: dict[str, Callable[[], str | None]] = {
    "postgres": cache(lambda: _listens(POSTGRES_URL, 5432)),
    "redis": cache(lambda: _listens(REDIS_URL, 6379)),
    "data": cache(_data),
    "browser": cache(_browser),
    "mount": cache(_mount),
    "gpu": cache(_gpu),
}


LONG = (
    "contract/test_readme.py",
    "ddcore/test_contract.py",
    "chaos/test_lost_workers.py",
    "browser/test_datasets.py",
    "chaos/test_ingest.py",
    "contract/test_own_images.py",
    "ddcore/spec/test_cost.py",
    "chaos/test_signals_and_wishes.py",
    "app/test_conformance.py",
    "chaos/test_studies.py",
    "chaos/test_real_engine.py",
    "ddcore/nets/test_functional.py",
    "contract/test_methods.py",
    "contract/test_ddctl.py",
    "browser/test_dashboard.py",
    "ddcore/autograd/test_gradients.py",
    "contract/test_compose.py",
    "worker/test_work.py",
    "ddcore/methods/test_staged.py",
    "contract/test_cases.py",
    "browser/test_studies.py",
    "contract/test_scores.py",
    "app/dashboard/test_accessibility.py",
    "contract/test_extensions.py",
    "app/oidc/test_signing_in.py",
    "chaos/test_outages.py",
)
"""Files that take half a minute or more, about the longest first; those that mostly wait beside those that compute.

A file stays in one process (`--dist loadfile`), so that one begun last keeps the others waiting for it.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first; all others keep their order."""
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without the garbage collector, and have it pass over what stays until the end.

    A third of the collection goes into looking through a million objects that all stay: modules and tests. Every
    later search would look through them again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_sessionfinish() -> None:
    """Give back what was frozen: bindings complain of leaks where the process ends with it."""
    gc.unfreeze()


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


@pytest.fixture(scope="session", autouse=True)
def statements_compiled_once() -> Iterator[None]:
    """A test's database takes what those before it have compiled: a quarter of the time of the API's tests."""
    known: dict[str, Engine] = {}

    def create(url: URL, **options: Any) -> Engine:
        engine = create_engine(url, **options)
        before = known.setdefault(engine.dialect.name, engine)
        if getattr(before.dialect, "server_version_info", None) is None:  # it has never been connected
            known[engine.dialect.name] = engine
        else:
            # What is compiled is known by the dialect that it was compiled for.
            engine.dialect, engine._compiled_cache = before.dialect, before._compiled_cache
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.core.database.create_engine", create)
        yield


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
