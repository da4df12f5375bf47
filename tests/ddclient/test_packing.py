"""The tar that is never written, against Python's own reader and the service's guards."""

from __future__ import annotations

import io
import os
import random
import tarfile
from pathlib import Path

import pytest

from ddclient import BadInputError, packing
from ddclient.packing import Content, PlainFile
from ddcore.data.ingest.archives import Limits, unpack

LONG = "x" * 60
FILES = {
    "cats/1.png": b"one",
    "cats/empty.png": b"",
    "cats/a block.png": b"b" * 512,
    "dogs/2.png": bytes(range(256)) * 5,
    "Füchse und 狐/🦊.png": b"not ASCII",
    f"{LONG}/{LONG}/{LONG}/3.png": b"a name of more than 100 characters",
    f"{'y' * 95}/4.png": b"a name of 101 characters",
    f"{'z' * 94}/5.png": b"a name of 100 characters",
    "notes.txt": b"kept: a reader may need it",
}
JUNK = (".DS_Store", "cats/Thumbs.db", "dogs/._2.png", "__MACOSX/cats/1.png", ".git/HEAD")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name, content in FILES.items() | {(name, b"junk") for name in JUNK}:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def whole(content: Content) -> bytes:
    return content.read(0, content.size)


def test_python_reads_back_the_same_tree(place: Path) -> None:
    tar = packing.folder(place)
    data = whole(tar)
    assert (tar.name, tar.size) == ("photos.tar", len(data))
    with tarfile.open(fileobj=io.BytesIO(data)) as read:
        members = read.getmembers()
        found = {member.name: (read.extractfile(member) or io.BytesIO()).read() for member in members}
    assert found == FILES
    assert [m.name for m in members] == sorted(FILES, key=lambda name: Path(name).parts)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}


def test_python_writes_the_same_bytes(place: Path) -> None:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(FILES, key=lambda name: Path(name).parts):
            info = tarfile.TarInfo(name)
            info.size = len(FILES[name])
            tar.addfile(info, io.BytesIO(FILES[name]))
    assert whole(packing.folder(place)) == written.getvalue()


def test_it_can_be_read_from_any_place_on(place: Path) -> None:
    tar = packing.folder(place)
    data = whole(tar)
    rng = random.Random(0)
    edges = [
        start + shift for start in range(0, tar.size, 512) for shift in (-1, 0, 1) if 0 <= start + shift < tar.size
    ]
    for start in [*edges, *(rng.randrange(tar.size) for _ in range(200))]:
        size = rng.choice([1, 511, 512, 513, 5000, tar.size])
        assert tar.read(start, size) == data[start : start + size]


def test_times_and_rights_do_not_show(place: Path) -> None:
    before = whole(packing.folder(place))
    os.utime(place / "cats" / "1.png", (1, 1))
    (place / "cats" / "1.png").chmod(0o600)
    assert whole(packing.folder(place)) == before


def test_it_passes_the_guards_of_the_service(place: Path, tmp_path: Path) -> None:
    (tmp_path / "sent.tar").write_bytes(whole(packing.folder(place)))
    unpack(tmp_path / "sent.tar", tmp_path / "unpacked", Limits())
    found = {p.relative_to(tmp_path / "unpacked").as_posix(): p.read_bytes()
             for p in (tmp_path / "unpacked").rglob("*") if p.is_file()}  # fmt: skip
    assert found.items() >= FILES.items()
    assert set(found) - set(FILES) == {".unpacked"}


@pytest.mark.parametrize("change", [lambda p: p.write_bytes(b"longer than before"), lambda p: os.utime(p, (1, 1)),
                                    lambda p: p.write_bytes(b""), lambda p: p.unlink()],
                         ids=["grown", "touched", "shrunk", "gone"])  # fmt: skip
def test_a_file_that_changes_is_named(place: Path, change: object) -> None:
    tar = packing.folder(place)
    assert callable(change)
    change(place / "dogs" / "2.png")
    with pytest.raises(BadInputError, match=r"dogs/2\.png (changed while it was being sent|cannot be read)"):
        whole(tar)


def test_a_change_between_two_reads_of_one_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(b"a" * 100)
    file = PlainFile(tmp_path / "set.npz")
    assert (file.name, file.size, file.read(90, 50)) == ("set.npz", 100, b"a" * 10)
    (tmp_path / "set.npz").write_bytes(b"b" * 100)
    os.utime(tmp_path / "set.npz", (1, 1))
    with pytest.raises(BadInputError, match=r"set\.npz changed"):
        file.read(0, 10)


def test_what_cannot_be_sent_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    with pytest.raises(BadInputError, match=r"nothing to send as set\.tar"):
        packing.folder(folder)
    os.mkfifo(folder / "pipe")
    with pytest.raises(BadInputError, match="pipe is no plain file"):
        packing.folder(folder)
    (folder / "pipe").unlink()
    (folder / "gone.png").symlink_to(folder / "nowhere")
    with pytest.raises(BadInputError, match=r"gone\.png cannot be read \(No such file"):
        packing.folder(folder)
    (folder / "gone.png").unlink()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).touch()
    with pytest.raises(BadInputError, match="is not UTF-8"):
        packing.folder(folder)
    (tmp_path / "empty.npz").touch()
    with pytest.raises(BadInputError, match=r"empty\.npz is empty"):
        PlainFile(tmp_path / "empty.npz")


def test_links_to_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.png").write_bytes(b"pixels")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.png").symlink_to(tmp_path / "elsewhere.png")
    with tarfile.open(fileobj=io.BytesIO(whole(packing.folder(tmp_path / "set")))) as read:
        opened = read.extractfile("1.png")
        assert opened is not None
        assert opened.read() == b"pixels"


def test_the_folder_here_has_its_own_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert packing.folder(Path()).name == "photos.tar"


def test_a_file_of_more_than_eight_gigabytes_has_a_header_of_its_own(tmp_path: Path) -> None:
    size = 9 << 30
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(size)
    tar = packing.Tar("t.tar", [("huge.bin", tmp_path / "huge.bin")])
    with tarfile.open(fileobj=io.BytesIO(tar.read(0, 4096))) as read:
        assert (read.next() or tarfile.TarInfo()).size == size
    assert tar.size >= size
    assert tar.read(tar.size - 10_000, 20_000) == bytes(10_000)
