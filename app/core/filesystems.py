"""What kind of filesystem a folder is on, since SQLite's locks do not hold on network ones; and who may read files."""

from __future__ import annotations

import os
from pathlib import Path

NETWORK = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "smb3"}
)
MOUNTS = Path("/proc/self/mounts")


def network_filesystem(folder: Path, mounts: Path = MOUNTS) -> str | None:
    """Kind of the network filesystem that ``folder`` is on, or ``None`` where it is on none.

    Only Linux says so; elsewhere the answer is ``None``.
    """
    if not mounts.exists():
        return None
    deepest, kind = -1, ""
    for line in mounts.read_text("utf-8", "replace").splitlines():
        _, point, found, *_ = line.split(" ")
        # Spaces in mount points are written in octal there.
        path = Path(point.replace("\\040", " "))
        # Of two mounts at one point the later hides the earlier.
        if folder.resolve().is_relative_to(path) and len(path.parts) >= deepest:
            deepest, kind = len(path.parts), found
    return kind if kind in NETWORK else None


def write_privately() -> None:
    """Have whatever this process and its children write be readable by their user alone.

    Folders that the service makes are private; one that was there before need not be.
    """
    os.umask(0o077)
