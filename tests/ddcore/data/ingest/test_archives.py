"""Archives: good ones come out whole, hostile and damaged ones leave nothing behind."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
import struct
import sys
import tarfile
import tempfile
import types
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddcore.data.ingest.archives import Limits, is_archive, target, unpack
from ddcore.errors import DataError

FILES = {"cat/1.png": b"one", "cat/2.png": b"two" * 400, "dog/3.png": b""}


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as packed:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            packed.writestr(info, data)
    return buffer.getvalue()


def tarred(files: Mapping[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    return members(*((tarfile.TarInfo(name), data) for name, data in files.items()), kind=kind)


def members(*entries: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as packed:
        for info, data in entries:
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return members((info, b""))


def come_out(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".unpacked"
    }


class Place:
    """A folder for an archive and one to unpack into."""

    def __init__(self, root: Path) -> None:
        self.root, self.into = root, root / "into"

    def put(self, data: bytes, name: str = "set.zip") -> Path:
        (self.root / name).write_bytes(data)
        return self.root / name

    def unpack(self, data: bytes, limits: Limits | None = None, name: str = "set.zip") -> Mapping[str, int]:
        return unpack(self.put(data, name), self.into, limits or Limits())

    def refused(self, data: bytes, match: str, limits: Limits | None = None, name: str = "set.zip") -> None:
        with pytest.raises(DataError, match=match) as caught:
            self.unpack(data, limits, name)
        assert str(caught.value).startswith(name)
        assert sorted(path.name for path in self.root.iterdir()) == [name], "nothing stays behind"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


TARS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("set.tar", bytes),
    ("set.tar.gz", gzip.compress),
    ("set.tar.bz2", bz2.compress),
    ("set.tar.xz", lzma.compress),
]


class TestGood:
    @pytest.mark.parametrize(
        "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=str
    )
    def test_zip(self, place: Place, method: int) -> None:
        assert place.unpack(zipped(FILES, method)) == {}
        assert come_out(place.into) == FILES
        assert (place.into / ".unpacked").read_bytes() == b""

    def test_zip64(self, place: Place) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as packed, packed.open("cat/1.png", "w", force_zip64=True) as opened:
            opened.write(b"one")
        place.unpack(buffer.getvalue())
        assert come_out(place.into) == {"cat/1.png": b"one"}

    @pytest.mark.parametrize(("name", "compress"), TARS, ids=[name for name, _ in TARS])
    @pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=str)
    def test_tar(self, place: Place, name: str, compress: Callable[[bytes], bytes], kind: int) -> None:
        files = FILES | {"猫/" + "long " * 15 + ".png": b"x" * 5000}
        place.unpack(compress(tarred(files, kind)), name=name)
        assert come_out(place.into) == files
        assert (place.into / ".unpacked").is_file()

    @pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
    def test_streams_that_follow_each_other(self, place: Place, compress: Callable[[bytes], bytes]) -> None:
        data = tarred(FILES)
        place.unpack(compress(data[:700]) + compress(data[700:]))
        assert come_out(place.into) == FILES

    def test_folders_and_dots_in_paths(self, place: Place) -> None:
        folder = tarfile.TarInfo("./cat")
        folder.type = tarfile.DIRTYPE
        root = tarfile.TarInfo("./")
        root.type = tarfile.DIRTYPE
        place.unpack(members((root, b""), (folder, b""), (tarfile.TarInfo("./cat//1.png"), b"one")))
        assert come_out(place.into) == {"cat/1.png": b"one"}

    def test_an_empty_folder_is_kept(self, place: Place) -> None:
        place.unpack(zipped({"cow/": b"", "cat/1.png": b"x", "cat/": b""}))
        assert (place.into / "cow").is_dir()

    def test_files_are_for_the_owner_alone(self, place: Place) -> None:
        info = tarfile.TarInfo("cat/1.png")
        info.mode = 0o4777
        place.unpack(members((info, b"x")))
        assert stat.S_IMODE((place.into / "cat/1.png").stat().st_mode) == 0o600
        assert stat.S_IMODE((place.into / "cat").stat().st_mode) & 0o077 == 0

    @pytest.mark.parametrize("pack", [zipped, tarred])
    def test_junk_is_counted_and_inner_archives_stay_packed(
        self, place: Place, pack: Callable[[Mapping[str, bytes]], bytes]
    ) -> None:
        junk = [
            "__MACOSX/cat/._1.png",
            "__MACOSX/x",
            ".DS_Store",
            "cat/.DS_Store",
            "cat/._1.png",
            "Thumbs.db",
            ".unpacked",
        ]
        inner = {"more.zip": b"PK", "cat/old.tar.gz": b""}
        assert place.unpack(pack(FILES | dict.fromkeys(junk, b"?") | inner)) == {
            "__MACOSX": 2, ".DS_Store": 2, "._*": 1, "Thumbs.db": 1, ".unpacked": 1, "inner archives": 2
        }  # fmt: skip
        assert come_out(place.into) == FILES | inner
        assert (place.into / ".unpacked").read_bytes() == b""

    def test_a_folder_that_is_not_empty_is_left_alone(self, place: Place) -> None:
        place.into.mkdir()
        (place.into / "mine").touch()
        with pytest.raises(FileExistsError):
            place.unpack(zipped(FILES))
        assert [path.name for path in place.into.iterdir()] == ["mine"]

    def test_an_empty_folder_stays_after_a_failure(self, place: Place) -> None:
        place.into.mkdir()
        with pytest.raises(DataError):
            place.unpack(zipped(FILES | {"../x": b""}))
        assert list(place.into.iterdir()) == []


class TestZstd:
    @pytest.fixture(autouse=True)
    def _without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("compression.zstd", "zstandard"):
            monkeypatch.setitem(sys.modules, name, None)

    def test_without_a_decoder_the_way_out_is_named(self, place: Place) -> None:
        place.refused(
            b"\x28\xb5\x2f\xfd....", "zstd, which this machine cannot read; pack it again as .tar.gz", name="a.tar.zst"
        )

    def test_zstandard(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        class Decompressor:
            def stream_reader(self, opened: Any, **options: bool) -> io.BytesIO:
                assert options == {"read_across_frames": True, "closefd": False}
                return io.BytesIO(opened.read()[4:])

        module = types.SimpleNamespace(ZstdDecompressor=Decompressor, ZstdError=ArithmeticError)
        monkeypatch.setitem(sys.modules, "zstandard", module)
        place.unpack(b"\x28\xb5\x2f\xfd" + tarred(FILES), name="set.tar.zst")
        assert come_out(place.into) == FILES

    def test_the_standard_library(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        class Opened:
            def __init__(self, opened: Any) -> None: ...

            def read(self, size: int) -> bytes:
                raise ArithmeticError("bad frame")

        module = types.SimpleNamespace(ZstdFile=Opened, ZstdError=ArithmeticError)
        monkeypatch.setitem(sys.modules, "compression.zstd", module)
        place.refused(b"\x28\xb5\x2f\xfd....", r"damaged or cut off \(bad frame\)", name="set.tar.zst")


NAMES = [
    ("/etc/passwd", "absolute path"),
    ("//x", "absolute path"),
    ("C:/x", "absolute path"),
    ("c:x", "absolute path"),
    ("../x", r"leads out of its folder \(\.\.\)"),
    ("cat/../../x", "leads out"),
    ("cat/..", "leads out"),
    ("..\\x", "backslash"),
    ("cat\\1.png", "backslash"),
    ("\\\\host\\x", "backslash"),
    ("x" * 256, "longer than 255 bytes"),
    ("é" * 128, "longer than 255 bytes"),
    ("d/" * 2000 + "x", "longer than 255 bytes, or lies too deep"),
]
PAIRS = [
    (("cat/1.png", "cat/1.PNG"), "differ only in case"),
    (("cat/1.png", "Cat/2.png"), "differ only in case"),
    (("\xe9/1.png", "e\u0301/2.png"), "how accents are stored"),
    (("cat", "cat/1.png"), "both a file and a folder"),
    (("cat/1.png", "cat"), "both a file and a folder"),
]


@pytest.mark.parametrize("pack", [zipped, tarred])
class TestNames:
    @pytest.mark.parametrize(("name", "match"), NAMES, ids=[name[:9] for name, _ in NAMES])
    def test_unsafe(self, place: Place, pack: Callable[[Mapping[str, bytes]], bytes], name: str, match: str) -> None:
        place.refused(pack({"cat/1.png": b"x", name: b"x"}), rf"the entry '.*{match}.*; ")

    @pytest.mark.parametrize(("names", "match"), PAIRS)
    def test_clashes(
        self, place: Place, pack: Callable[[Mapping[str, bytes]], bytes], names: tuple[str, str], match: str
    ) -> None:
        place.refused(pack(dict.fromkeys(names, b"x")), match)


class TestEntries:
    def test_zero_bytes_in_a_name(self, place: Place) -> None:
        place.refused(zipped({"cat_png": b"x"}).replace(b"cat_png", b"cat\0png"), "zero byte")

    def test_names_that_are_no_text(self, place: Place) -> None:
        info = tarfile.TarInfo(os.fsdecode(b"\xe9t\xe9.png"))
        place.refused(members((info, b"x"), kind=tarfile.GNU_FORMAT), "not UTF-8; rename it")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_an_entry_that_is_there_twice(self, place: Place) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as packed:
            for data in ("a", "b"):
                packed.writestr("cat/1.png", data)
        place.refused(buffer.getvalue(), "'cat/1.png' is there twice; rename")
        twice = (tarfile.TarInfo("cat/1.png"), b"x")
        place.refused(members(twice, twice), "is there twice")

    @pytest.mark.parametrize(
        ("kind", "match"),
        [(tarfile.SYMTYPE, "is a link"), (tarfile.LNKTYPE, "is a link"), (tarfile.CHRTYPE, "device"),
         (tarfile.BLKTYPE, "device"), (tarfile.FIFOTYPE, "pipe"), (b"V", "unknown kind")],
    )  # fmt: skip
    def test_special_files_of_a_tar(self, place: Place, kind: bytes, match: str) -> None:
        place.refused(special("cat/1.png", kind, "/etc/passwd"), f"the entry 'cat/1.png' .*{match}.*; ")

    def test_a_file_through_a_link_to_a_folder(self, place: Place) -> None:
        link = tarfile.TarInfo("cat")
        link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
        place.refused(members((link, b""), (tarfile.TarInfo("cat/1.png"), b"x")), "'cat' is a link")

    @pytest.mark.parametrize(
        ("kind", "match"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFCHR, "device"), (stat.S_IFIFO, "pipe")]
    )
    def test_special_files_of_a_zip(self, place: Place, kind: int, match: str) -> None:
        info = zipfile.ZipInfo("cat/1.png")
        info.create_system, info.external_attr = 3, (kind | 0o777) << 16
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as packed:
            packed.writestr(info, "/etc/passwd")
        place.refused(buffer.getvalue(), match)

    def test_encrypted(self, place: Place) -> None:
        data = bytearray(zipped({"1.png": b"x"}))
        data[6] |= 1
        data[data.index(b"PK\1\2") + 8] |= 1
        place.refused(bytes(data), "'1.png' is encrypted; pack it without a password")

    def test_a_method_nobody_knows(self, place: Place) -> None:
        data = bytearray(zipped({"1.png": b"x"}))
        data[8] = data[data.index(b"PK\1\2") + 10] = 93
        place.refused(bytes(data), "compression")

    def test_sparse(self, place: Place) -> None:
        header = bytearray(tarfile.TarInfo("1.png").tobuf(tarfile.GNU_FORMAT))
        header[156:157] = tarfile.GNUTYPE_SPARSE
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        place.refused(bytes(header) + bytes(10240), "sparse")

    def test_a_file_without_a_name(self, place: Place) -> None:
        place.refused(tarred({"./.": b"x"}), "without a name")


class TestDamage:
    @pytest.mark.parametrize("size", [0, 3, 50, 200, -30, -1])
    def test_zip_cut_off(self, place: Place, size: int) -> None:
        place.refused(zipped(FILES)[:size], "damaged or cut off")

    def test_zip_with_a_wrong_checksum(self, place: Place) -> None:
        data = zipped({"1.png": b"content"}, zipfile.ZIP_STORED).replace(b"content", b"contend", 1)
        place.refused(data, r"damaged or cut off \(Bad CRC-32 for file '1.png'\)")

    @pytest.mark.parametrize(("name", "compress"), TARS, ids=[name for name, _ in TARS])
    def test_tar_cut_off(self, place: Place, name: str, compress: Callable[[bytes], bytes]) -> None:
        whole = compress(tarred(FILES))
        for size in [600, 2000, 3000] if name == "set.tar" else [len(whole) // 3, len(whole) // 2, len(whole) - 5]:
            place.refused(whole[:size], "damaged or cut off", name=name)

    def test_tar_cut_off_between_entries(self, place: Place) -> None:
        place.refused(tarred({"1.png": b"x"})[:1024], "damaged or cut off")

    def test_a_later_header_is_damaged(self, place: Place) -> None:
        data = bytearray(tarred({"1.png": b"x", "2.png": b"y"}))
        data[1024] ^= 1
        place.refused(bytes(data), "damaged or cut off")

    def test_joined_tars(self, place: Place) -> None:
        place.refused(tarred(FILES) + tarred(FILES), "goes on after its end")

    @pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
    def test_a_huge_header(self, place: Place, kind: bytes) -> None:
        info = tarfile.TarInfo("x")
        info.type = kind
        info.size = 1 << 33
        place.refused(info.tobuf(tarfile.GNU_FORMAT) + b"1" * (3 << 20), "header of more than 1,048,576 bytes")

    def test_a_long_chain_of_headers(self, place: Place) -> None:
        info = tarfile.TarInfo("x")
        info.type, info.size = tarfile.XHDTYPE, 11
        place.refused((info.tobuf() + b"11 a=123456\n".ljust(512, b"\0")) * 4000, "header of more|damaged")

    def test_a_forged_size_of_the_directory_of_a_zip(self, place: Place) -> None:
        data = bytearray(zipped({"1.png": b"x"}) + bytes(2 << 20))
        end = data.index(b"PK\5\6")
        tail = bytearray(data[end : end + 22])
        struct.pack_into("<L", tail, 12, 1 << 20)
        place.refused(bytes(data[:end]) + bytes(2 << 20) + bytes(tail), "more than 10 entries", Limits(entries=10))

    def test_memory_that_runs_out(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(tarfile.TarFile, "next", fail)
        place.refused(tarred(FILES), r"damaged or cut off \(MemoryError\)")


class TestLimits:
    @pytest.mark.parametrize("pack", [zipped, tarred])
    def test_entries(self, place: Place, pack: Callable[[Mapping[str, bytes]], bytes]) -> None:
        place.unpack(pack(FILES), Limits(entries=3))
        place.into.rename(place.root / "set.zip.d")
        (place.root / "set.zip.d" / ".unpacked").unlink()
        with pytest.raises(DataError, match="more than 2 entries; send"):
            place.unpack(pack(FILES), Limits(entries=2))

    @pytest.mark.parametrize("pack", [zipped, tarred])
    def test_bytes_of_an_entry(self, place: Place, pack: Callable[[Mapping[str, bytes]], bytes]) -> None:
        place.refused(pack(FILES), "'cat/2.png' holds more than 1,199 bytes; leave it out", Limits(entry_bytes=1199))

    @pytest.mark.parametrize("pack", [zipped, tarred])
    def test_bytes_of_all(self, place: Place, pack: Callable[[Mapping[str, bytes]], bytes]) -> None:
        place.refused(pack(FILES), "unpacks to more than 1,202 bytes", Limits(total_bytes=1202))

    @pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_ratio_of_a_zip(self, place: Place, method: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(target, "_RATIO_COUNTS_FROM", 1 << 20)
        place.refused(zipped({"1.png": bytes(4 << 20)}, method), "bytes and unpacks to more than 200 times as many")

    @pytest.mark.parametrize(("name", "compress"), TARS[1:], ids=[name for name, _ in TARS[1:]])
    def test_ratio_of_a_tar(
        self, place: Place, name: str, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(target, "_RATIO_COUNTS_FROM", 1 << 20)
        place.refused(compress(tarred({"1.png": bytes(4 << 20)})), "more than 200 times as many", name=name)

    def test_a_ratio_does_not_count_for_little(self, place: Place) -> None:
        place.unpack(zipped({"1.png": bytes(4 << 20)}))
        assert len(come_out(place.into)["1.png"]) == 4 << 20

    def test_zeros_after_the_end_count(self, place: Place) -> None:
        place.refused(
            gzip.compress(tarred(FILES) + bytes(1 << 20)), "more than 500,000 bytes", Limits(total_bytes=500_000)
        )

    def test_a_size_in_the_header_is_not_believed(self, place: Place) -> None:
        data = bytearray(zipped({"1.png": bytes(5000)}))
        struct.pack_into("<L", data, data.index(b"PK\1\2") + 24, 10)
        place.refused(bytes(data), "damaged")

    def test_a_full_disk_is_no_fault_of_the_archive(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        real = os.open

        def full(path: Any, *rest: Any, **more: Any) -> int:
            if str(path).endswith("3.png"):
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(path, *rest, **more)

        monkeypatch.setattr(os, "open", full)
        with pytest.raises(OSError, match="No space left") as caught:
            place.unpack(zipped(FILES))
        assert caught.value.errno == errno.ENOSPC
        assert not place.into.exists()


class TestIsArchive:
    @pytest.mark.parametrize(
        ("data", "name", "expected"),
        [
            (zipped(FILES), "set.bin", True),
            (zipped({}), "set.bin", True),
            (zipped(FILES), "set.npz", False),
            (zipped(FILES)[:60], "set.zip", True),
            (zipped(FILES)[:60], "set.bin", False),
            (tarred(FILES), "set", True),
            (gzip.compress(tarred(FILES)), "set", True),
            (bz2.compress(tarred(FILES)), "set", True),
            (lzma.compress(tarred(FILES)), "set", True),
            (gzip.compress(b"\0\0\x08\x03" + bytes(600)), "train-images-idx3-ubyte.gz", False),
            (gzip.compress(tarred(FILES))[:20], "set.tgz", True),
            (b"\x28\xb5\x2f\xfd", "set.tar.zst", True),
            (b"\x89PNG" + bytes(600) + zipped(FILES), "1.png", False),
            (b"", "set.tar", False),
            (b"<html>", "set.txt", False),
        ],
        ids=lambda value: value if isinstance(value, str) else type(value).__name__,
    )
    def test_by_content(self, place: Place, data: bytes, name: str, expected: bool) -> None:
        assert is_archive(place.put(data, name)) is expected

    def test_a_folder_is_none(self, tmp_path: Path) -> None:
        assert not is_archive(tmp_path)
        assert not is_archive(tmp_path / "missing")


SEEDS = {
    "set.zip": zipped(FILES),
    "set.tar": tarred(FILES | {"猫" * 60: b"x"}),
    "set.tar.gz": gzip.compress(tarred(FILES), mtime=0),
    "set.tar.xz": lzma.compress(tarred(FILES)),
    "bz2.zip": zipped(FILES, zipfile.ZIP_BZIP2),
}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(SEEDS)),
    flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=6),
)
def test_whatever_bytes_are_flipped_nothing_gets_out(name: str, flips: list[tuple[int, int]]) -> None:
    data = bytearray(SEEDS[name])
    for where, change in flips:
        data[where % len(data)] ^= change
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        try:
            place.unpack(bytes(data), Limits(total_bytes=1 << 24), name)
        except DataError:
            assert [path.name for path in place.root.iterdir()] == [name]
        else:
            assert sorted(path.name for path in place.root.iterdir()) == sorted([name, "into"])
            assert not any(path.is_symlink() for path in place.into.rglob("*"))
