"""Neither the API nor the process that takes images in holds an upload in memory.

``DD_TEST_UPLOAD_GB=2`` sends two gigabytes instead of a quarter.
"""

from __future__ import annotations

import os
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.chaos.harness import Cluster, Server, cluster

pytestmark = pytest.mark.slow

GIGABYTES = float(os.environ.get("DD_TEST_UPLOAD_GB", "0.25"))
SIDE = 1000
MAY_GROW = 128 << 20


def archive(path: Path, count: int) -> Path:
    """A tar of two classes of large uncompressed pictures, three megabytes each."""
    rng = np.random.default_rng(0)
    with tarfile.open(path, "w") as packed:
        for number in range(count):
            picture = BytesIO()
            small = Image.fromarray(rng.integers(0, 256, (10, 10, 3), dtype=np.uint8))
            small.resize((SIDE, SIDE), Image.Resampling.NEAREST).save(picture, "BMP")
            info = tarfile.TarInfo(f"{'cat' if number % 2 else 'dog'}/{number:05d}.bmp")
            info.size = picture.tell()
            picture.seek(0)
            packed.addfile(info, picture)
    return path


def own_memory(pid: int) -> int:
    """Bytes of a process that are its own: mapped files are the kernel's to drop."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


class Watch:
    """The most memory of the API and of the ingest process, while it is looked at."""

    def __init__(self, made: Cluster, server: Server) -> None:
        self._made, self._api = made, server.process.process.pid
        self._ended = threading.Event()
        self.api = self.ingest = 0

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.05):
            self.api = max(self.api, own_memory(self._api))
            self.ingest = max(self.ingest, *map(own_memory, self._made.engines()), 0)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "home") as started:
        yield started


def take_in(made: Cluster, server: Server, path: Path) -> Watch:
    """Send a file and wait for the set; what that took."""
    announced = httpx.post(
        f"{server.address}/v1/datasets",
        timeout=60,
        json={"name": path.stem, "file": path.name, "options": {"size": 32}},
    )
    address = f"{server.address}/v1/datasets/{announced.json()['id']}"
    with Watch(made, server) as watch:
        with path.open("rb") as file:
            sent = httpx.put(f"{address}/content", content=file, timeout=600)
        assert sent.status_code == 202, sent.text
        while (state := httpx.get(address, timeout=60).json()["state"]) != "ready":
            assert state in ("queued", "ingesting"), httpx.get(address).text
            time.sleep(0.2)
    return watch


def test_memory_does_not_grow_with_the_upload(made: Cluster, tmp_path: Path) -> None:
    server = Server(made)
    made.worker()
    small = take_in(made, server, archive(tmp_path / "small.tar", 10))
    size = (large := archive(tmp_path / "large.tar", int(GIGABYTES * 1e9 / (3 * SIDE**2)))).stat().st_size
    began = time.monotonic()
    big = take_in(made, server, large)
    sys.stdout.write(
        f"{size / 1e9:.2f} GB in {time.monotonic() - began:.0f} s; API {small.api >> 20} to {big.api >> 20} MiB, "
        f"ingest {small.ingest >> 20} to {big.ingest >> 20} MiB\n"
    )
    assert size > 1.5 * MAY_GROW
    assert big.api - small.api <= MAY_GROW
    assert big.ingest - small.ingest <= MAY_GROW
