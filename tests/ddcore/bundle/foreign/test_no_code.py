"""Files that would run code are refused, and nothing of them runs."""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typing_extensions import override

from ddcore.bundle import foreign
from ddcore.bundle.foreign import loading
from ddcore.data.dataset import Dataset
from ddcore.errors import DataError

X = torch.zeros(6, 3, 6, 5)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    @override
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self._marker,)


class Assembled:
    """Likewise, by the state that it is given after it was made."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (), None, None, iter([(Trap(self._marker), 1)])


TRAPS: dict[str, Callable[[Path], Any]] = {
    "alone": Trap,
    "beside images": lambda marker: [X, Trap(marker)],
    "in a dict": lambda marker: {"images": X, "args": Trap(marker)},
    "as a key": Assembled,
}


@pytest.mark.parametrize("form", [2, 4, "zip", "old"])
@pytest.mark.parametrize("trap", TRAPS)
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(
    trap: str, form: int | str, tmp_path: Path, dataset: Dataset
) -> None:
    marker, file = tmp_path / "ran", tmp_path / "set.pt"
    content = TRAPS[trap](marker)
    if isinstance(form, int):
        file.write_bytes(pickle.dumps(content, protocol=form))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(DataError, match=r"holds more than tensors and numbers .* nothing of it was read.*torch\.save"):
        foreign.read(file, dataset)
    assert not marker.exists()

    if form in ("zip", "old"):
        torch.load(file, weights_only=False)
    else:
        pickle.loads(file.read_bytes())
    assert marker.exists(), "the trap works where a pickle is let"


def test_labels_beside_are_read_with_the_same_care(tmp_path: Path, dataset: Dataset) -> None:
    marker = tmp_path / "ran"
    torch.save(X, tmp_path / "images_best.pt")
    torch.save(Trap(marker), tmp_path / "labels_best.pt")
    with pytest.raises(DataError, match=r"labels_best\.pt holds more than tensors and numbers \(it asks for `getattr"):
        foreign.read(tmp_path / "images_best.pt", dataset)
    assert not marker.exists()


def test_numbers_of_numpy_are_let_and_its_objects_are_not(tmp_path: Path, dataset: Dataset) -> None:
    torch.save({"images": X, "accuracy": np.float64(1)}, tmp_path / "set.pt")
    assert foreign.read(tmp_path / "set.pt", dataset).ipc == 2
    torch.save({"images": X, "accuracy": np.array([1.0])}, tmp_path / "set.pt")
    with pytest.raises(DataError, match=r"it asks for `numpy.*_reconstruct`"):
        foreign.read(tmp_path / "set.pt", dataset)
    torch.save(np.float64(1), tmp_path / "number.pt")
    with pytest.raises(pickle.UnpicklingError):  # the leave ends with the reading
        torch.load(tmp_path / "number.pt", weights_only=True)


def test_objects_in_an_npz_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    marker = tmp_path / "ran"
    np.savez(tmp_path / "set.npz", images=np.array([Trap(marker)], dtype=object))
    with pytest.raises(DataError, match=r"`images` has the type object; images and labels are whole or floating"):
        foreign.read(tmp_path / "set.npz", dataset)
    assert not marker.exists()


@pytest.mark.parametrize("shape", ["(1000000000000, 3, 6, 5)", "(7, 3, 6, 5)", f"({2**40}, {2**40}, 6, 5)"])
def test_an_npz_that_promises_more_than_it_holds_is_refused(shape: str, tmp_path: Path, dataset: Dataset) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("images.npy", head + bytes(X.numel() * 4))
    with pytest.raises(DataError, match=r"`images` says that it is .* float32, more than its [\d,]+ bytes hold"):
        foreign.read(tmp_path / "set.npz", dataset)


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"\x80\x02}q\x00."])
@pytest.mark.parametrize("name", ["set.pt", "set.npz", "set.safetensors", "set.parquet", "set.zip"])
def test_damaged_files_are_refused_by_name(name: str, data: bytes, tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=r"set\."):
        foreign.read(tmp_path / name, dataset)


def test_a_file_that_unpacks_to_more_than_is_let_is_not_unpacked(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage of zeros takes a thousandth of its size in a zip."""
    torch.save(torch.zeros(2**16), tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "set.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for info in plain.infolist():
            packed.writestr(info.filename, plain.read(info))
    assert (tmp_path / "set.pt").stat().st_size < 2**13
    monkeypatch.setattr(loading, "MOST_BYTES", 2**17)
    with pytest.raises(DataError, match=r"set\.pt comes to 26\d,\d{3} bytes, more than the 131,072 allowed"):
        foreign.read(tmp_path / "set.pt", dataset)


def test_an_npz_whose_bytes_are_spoiled_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    np.savez_compressed(tmp_path / "set.npz", allow_pickle=False, images=torch.rand(6, 3, 6, 5).numpy())
    data = bytearray((tmp_path / "set.npz").read_bytes())
    data[120:180] = bytes(60)
    (tmp_path / "set.npz").write_bytes(data)
    with pytest.raises(DataError, match=r"set\.npz is not a readable \.npz file"):
        foreign.read(tmp_path / "set.npz", dataset)


def test_half_a_file_and_a_pointer_are_refused(tmp_path: Path, dataset: Dataset) -> None:
    torch.save(X, tmp_path / "set.pt")
    whole = (tmp_path / "set.pt").read_bytes()
    (tmp_path / "set.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"set\.pt is not a readable \.pt file .*; copy or download it again"):
        foreign.read(tmp_path / "set.pt", dataset)
    (tmp_path / "set.pt").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(DataError, match=r"pointer of git-lfs, not the file itself"):
        foreign.read(tmp_path / "set.pt", dataset)


def test_a_list_that_holds_itself_is_refused(tmp_path: Path, dataset: Dataset) -> None:
    endless: list[Any] = []
    endless.append(endless)
    torch.save(endless, tmp_path / "set.pt")
    with pytest.raises(DataError, match="holds a list within others"):
        foreign.read(tmp_path / "set.pt", dataset)
