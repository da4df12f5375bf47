"""What a process that reads strangers' files cannot do; each in a process of its own, which stays confined."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.harness import ROOT
from worker import confinement


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process from the network")
class TestNetwork:
    def test_no_socket_leads_out(self) -> None:
        done = run(
            "import socket, subprocess, sys\n"
            "from worker.confinement import without_network\n"
            "assert without_network()\n"
            "for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):\n"
            "    try:\n"
            "        socket.socket(family, socket.SOCK_STREAM if family != socket.AF_NETLINK else socket.SOCK_RAW)\n"
            "        print('open', family)\n"
            "    except PermissionError:\n"
            "        print('refused')\n"
            "inner = 'import socket; socket.socket()'\n"
            "child = subprocess.run([sys.executable, '-c', inner], capture_output=True, text=True)\n"
            "print('PermissionError' in child.stderr)\n"
        )
        assert done.stdout.split() == ["refused"] * 3 + ["True"], done.stderr

    def test_what_stays_on_the_machine_works(self) -> None:
        """Processes talk through pairs of sockets and pipes; threads and files go on too."""
        done = run(
            "import multiprocessing, socket, threading\n"
            "from worker.confinement import without_network\n"
            "without_network()\n"
            "left, right = socket.socketpair()\n"
            "left.sendall(b'x'); print(right.recv(1))\n"
            "thread = threading.Thread(target=print, args=('thread',)); thread.start(); thread.join()\n"
        )
        assert done.stdout.split() == ["b'x'", "thread"], done.stderr

    def test_without_it_sockets_open(self) -> None:
        """Else the first test would pass on a machine that has no sockets at all."""
        assert run("import socket; socket.socket()").returncode == 0


def test_files_end_at_their_limit(tmp_path: Path) -> None:
    done = run(
        "import errno\n"
        "from worker.confinement import limit_files\n"
        "limit_files(1000)\n"
        f"file = open({str(tmp_path / 'file')!r}, 'wb', buffering=0)\n"
        "file.write(b'x' * 1000)\n"
        "try:\n"
        "    file.write(b'x')\n"
        "except OSError as error:\n"
        "    print(errno.errorcode[error.errno])\n"
    )
    assert done.stdout.strip() == "EFBIG", done.stderr


@pytest.mark.skipif(confinement.own_memory() is None, reason="this system does not tell how much memory a process has")
class TestMemory:
    def test_too_much_of_ones_own_ends_it(self) -> None:
        done = run(
            "import os, time\n"
            "from worker.confinement import own_memory, watch_memory\n"
            "watch_memory(own_memory() + (50 << 20), lambda: os._exit(76))\n"
            "kept = b'x' * (80 << 20)\n"
            "time.sleep(30)\n"
        )
        assert done.returncode == 76, done.stderr

    def test_that_of_its_helpers_counts(self) -> None:
        done = run(
            "import os, subprocess, sys, time\n"
            "from worker.confinement import own_memory, watch_memory\n"
            "greedy = \"kept = b'x' * (80 << 20); print(); input()\"\n"
            "pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}\n"
            "helper = subprocess.Popen([sys.executable, '-c', greedy], **pipes)\n"
            "helper.stdout.readline()\n"
            "watch_memory(own_memory() + (50 << 20), lambda: os._exit(76), lambda: [helper.pid])\n"
            "time.sleep(30)\n"
        )
        assert done.returncode == 76, done.stderr

    def test_mapped_files_do_not_count(self, tmp_path: Path) -> None:
        with (tmp_path / "large").open("wb") as file:
            file.truncate(80 << 20)
        done = run(
            "import mmap, os, time\n"
            "from worker.confinement import own_memory, watch_memory\n"
            "watch_memory(own_memory() + (50 << 20), lambda: os._exit(76))\n"
            f"file = open({str(tmp_path / 'large')!r}, 'rb')\n"
            "mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)\n"
            "total = sum(mapped[::4096])\n"
            "time.sleep(1)\n"
        )
        assert done.returncode == 0, done.stderr
