from __future__ import annotations

from pathlib import Path

import pytest

from app.core import database, filesystems
from app.core.filesystems import network_filesystem
from app.core.settings import Settings

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /home nfs4 rw 0 0
/dev/sdb1 /home/local ext4 rw 0 0
//nas/share /mnt/my\\040share smb3 rw 0 0
/dev/sdc1 /srv ext4 rw 0 0
server:/srv /srv nfs rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mounts"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib/dd", None),
        ("/home/me/dd", "nfs4"),
        ("/home/local/dd", None),
        ("/home2/dd", None),
        ("/mnt/my share/dd", "smb3"),
        ("/srv/dd", "nfs"),
    ],
)
def test_deepest_and_latest_mount_decides(mounts: Path, folder: str, kind: str | None) -> None:
    assert network_filesystem(Path(folder), mounts) == kind


def test_says_nothing_where_mounts_are_not_listed(tmp_path: Path) -> None:
    assert network_filesystem(tmp_path, tmp_path / "none") is None


def test_embedded_database_is_refused_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "network_filesystem", lambda _folder: "nfs4")
    with pytest.raises(ValueError, match=r"nfs4.*DD_DATABASE_URL"):
        database.Database(Settings(home=tmp_path))


def test_this_machine_can_be_asked() -> None:
    assert filesystems.network_filesystem(Path("/proc")) is None
