"""How much room there is: memory for tensors, and space on a disk, in bytes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

_ROOT = Path("/")


def free_memory(device: torch.device, root: Path = _ROOT) -> int:
    """Bytes that a process can still take for tensors on a device.

    On a CPU it is what the system calls available, or less where a control group (a container) allows less; caches of
    files count as free, because the system gives them up.

    Args:
        device: CPU or CUDA.
        root: where ``proc`` and ``sys`` are mounted.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(_available(root / "proc/meminfo"), _allowed(root / "sys/fs/cgroup"))


def free_disk(folder: Path) -> int:
    """Bytes that can still be written into a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def format_bytes(size: float) -> str:
    """A number of bytes for a reader, in decimal units.

    >>> format_bytes(44_700_000_000), format_bytes(1_280_040), format_bytes(12)
    ('44.7 GB', '1.28 MB', '12 B')
    """
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _available(meminfo: Path) -> int:
    """What Linux says is available; all of the machine's memory where there is no such file."""
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _allowed(group: Path) -> int:
    """What the process's control group (version 2) leaves it; without a limit, more than any machine has."""
    limit = group / "memory.max"
    if not limit.is_file() or limit.read_text().strip() == "max":
        return 2**63
    statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    used = int((group / "memory.current").read_text()) - int(statistics.get("inactive_file", 0))
    return max(0, int(limit.read_text()) - used)
