"""The bundle on this side of the wire: fetched, checked, unpacked, loaded."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import stat
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import httpx

from ddclient.errors import ClientError, DownloadError
from ddclient.models import Artifact
from ddclient.transport import AsyncTransport, Transport

if TYPE_CHECKING:
    from torch.utils.data import TensorDataset

CHUNK = 1 << 20
MAX_FILES = 10_000
MAX_RATIO = 200
"""No honest bundle shrinks by more than this: images hardly compress."""
CONNECTIONS = 5
READ_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Bundle:
    """A distilled set in a folder.

    >>> Bundle(Path("out")).images_file.name
    'distilled.safetensors'
    """

    path: Path

    @property
    def images_file(self) -> Path:
        """The tensors: ``images`` float32 N x C x H x W in pixel units, ``labels`` int64 N."""
        return self.path / "distilled.safetensors"

    @property
    def manifest(self) -> dict[str, Any]:
        """Classes, normalisation, recipe, results, specification and digests."""
        document: dict[str, Any] = json.loads((self.path / "manifest.json").read_text("utf-8"))
        return document

    def as_torch(self, *, normalized: bool = False) -> TensorDataset:
        """The images (float32, N x C x H x W) and labels (int64, N), ready for a ``DataLoader``.

        Args:
            normalized: whether pixels are those that the networks of the recipe see: less the mean and divided by the
                standard deviation of each channel, or whitened, as the bundle says. Default: pixel units, 0 to 1.

        Raises:
            ClientError: torch or safetensors is not installed.
        """
        try:
            import torch
            from safetensors.torch import load_file
            from torch.utils.data import TensorDataset
        except ImportError as error:
            raise ClientError(f"loading into torch needs `pip install ddservice[engine]` ({error.name})") from error
        tensors = load_file(self.images_file)
        images = tensors["images"]
        if normalized and "whitening_matrix" in tensors:
            centred = images.flatten(1) - tensors["whitening_mean"]
            images = (centred @ tensors["whitening_matrix"]).view(images.shape)
        elif normalized:
            facts = self.manifest["normalization"]
            mean, std = (torch.tensor(facts[name], dtype=images.dtype)[:, None, None] for name in ("mean", "std"))
            images = (images - mean) / std
        return TensorDataset(images, tensors["labels"])


@dataclass(frozen=True)
class Remote:
    """A file of the service: where it is, its ``size`` in bytes and its hexadecimal SHA-256."""

    path: str
    size: int | None
    sha256: str | None

    @classmethod
    def of(cls, artifact: Artifact) -> Remote:
        """The bytes of an artifact."""
        return cls(f"/v1/artifacts/{artifact.id}/content", artifact.size, artifact.sha256)


class Landing:
    """A download on its way into a file, which may take several connections.

    Bytes collect in ``target`` + ``.part`` and move to ``target`` once their SHA-256 is right.
    """

    def __init__(self, connection: Transport | AsyncTransport, remote: Remote, target: Path) -> None:
        self._connection, self._remote, self._target = connection, remote, target
        self._attempts = 0
        target.parent.mkdir(parents=True, exist_ok=True)
        self._part = target.with_name(f"{target.name}.part")

    @property
    def complete(self) -> bool:
        """Whether no byte is missing."""
        return self._have > 0 and self._have == self._remote.size

    @property
    def headers(self) -> dict[str, str]:
        """By which the service sends what is missing."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if self._have and (self._remote.size is None or self._have < self._remote.size):
            headers |= {"Range": f"bytes={self._have}-", "If-Range": f'"{self._remote.sha256}"'}
        return headers

    def open(self, answer: httpx.Response) -> IO[bytes]:
        """Where the bytes of an answer go."""
        return self._part.open("ab" if answer.status_code == httpx.codes.PARTIAL_CONTENT else "wb")

    def broke(self, error: httpx.TransportError) -> float:
        """Seconds to wait before the next connection.

        Raises:
            UnreachableError: the connection broke five times.
        """
        self._attempts += 1
        if self._attempts == CONNECTIONS:
            raise self._connection.unreachable(error) from error
        return float(0.2 * 2**self._attempts)

    def keep(self) -> Path:
        """The file, complete and checked.

        Raises:
            DownloadError: the digest is wrong.
        """
        digest = sha256_of(self._part)
        if digest != self._remote.sha256:
            self._part.unlink()
            raise DownloadError(
                f"{self._target.name} has SHA-256 {digest}, but the service promised {self._remote.sha256}; "
                "download it again"
            )
        self._part.replace(self._target)
        return self._target

    @property
    def _have(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0


def fetch(transport: Transport, remote: Remote, target: Path) -> Path:
    """Download a file to ``target``, going on where an earlier attempt broke off.

    Raises:
        DownloadError: the digest is wrong.
        ProblemError: the service refused.
        UnreachableError: the connection broke five times.
    """
    landing = Landing(transport, remote, target)
    while not landing.complete:
        try:
            with (
                transport.stream(remote.path, headers=landing.headers, read_timeout=READ_TIMEOUT_S) as answer,
                landing.open(answer) as file,
            ):
                for chunk in answer.iter_bytes():
                    file.write(chunk)
            break
        except httpx.TransportError as error:
            time.sleep(landing.broke(error))
    return landing.keep()


async def fetch_async(transport: AsyncTransport, remote: Remote, target: Path) -> Path:
    """The same for ``asyncio``; see :func:`fetch`."""
    landing = Landing(transport, remote, target)
    while not landing.complete:
        try:
            async with transport.stream(remote.path, headers=landing.headers, read_timeout=READ_TIMEOUT_S) as answer:
                with landing.open(answer) as file:
                    async for chunk in answer.aiter_bytes():
                        file.write(chunk)
            break
        except httpx.TransportError as error:
            await asyncio.sleep(landing.broke(error))
    return landing.keep()


def newest(artifacts: Sequence[Artifact], job_id: str, kind: str = "bundle") -> Artifact:
    """The file of a kind that a job made last.

    Raises:
        ClientError: it has none (yet).
    """
    found = [artifact for artifact in artifacts if artifact.kind == kind and artifact.state == "ready"]
    if not found:
        what = kind.replace("_", " ")
        raise ClientError(f"{job_id} has no {what}; wait until it has succeeded (`ddctl watch {job_id}`)")
    return found[-1]


def unpack(archive: Path, folder: Path) -> Bundle:
    """Unzip a bundle into ``folder`` and check every file against the manifest.

    Nothing is written into ``folder`` before everything has been checked; files of other names that
    lie there are left alone.

    Raises:
        DownloadError: not a bundle, a name that leads out of the folder, a link, an absurd size, or a
            file whose digest is not the manifest's.
    """
    extract(archive, folder, _verify)
    return Bundle(folder)


def extract(archive: Path, folder: Path, check: Callable[[Path], None] | None = None) -> None:
    """Unzip an archive of the service into ``folder``, all of it or nothing.

    Args:
        archive: the zip file.
        folder: where its files go.
        check: looks at the unpacked files before they are moved there.

    Raises:
        DownloadError: no zip file, a name that leads out of the folder, a link, or an absurd size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as temporary:
        staging = Path(temporary)
        try:
            with zipfile.ZipFile(archive) as bundle:
                names = [_extract(bundle, entry, staging) for entry in _entries(bundle, archive.stat().st_size)]
        except zipfile.BadZipFile as error:
            raise DownloadError(f"{archive.name} is not a zip file ({error})") from error
        if check is not None:
            check(staging)
        for name in names:
            destination = folder / name
            destination.parent.mkdir(parents=True, exist_ok=True)
            (staging / name).replace(destination)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entries(bundle: zipfile.ZipFile, packed: int) -> list[zipfile.ZipInfo]:
    entries = [entry for entry in bundle.infolist() if not entry.is_dir()]
    if len(entries) > MAX_FILES:
        raise DownloadError(f"the archive holds {len(entries)} files, more than the {MAX_FILES} of any bundle")
    if sum(entry.file_size for entry in entries) > packed * MAX_RATIO:
        raise DownloadError(f"the archive says it unpacks to more than {MAX_RATIO} times its size")
    names = [entry.filename for entry in entries]
    if len(set(names)) < len(names):
        raise DownloadError("the archive names a file twice")
    for entry in entries:
        name = PurePosixPath(entry.filename)
        outside = name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in entry.filename
        mode = entry.external_attr >> 16
        if outside or not name.parts or (stat.S_IFMT(mode) not in {0, stat.S_IFREG}):
            raise DownloadError(f"the archive holds {entry.filename!r}, which is not a plain file inside the folder")
    return entries


def _extract(bundle: zipfile.ZipFile, entry: zipfile.ZipInfo, staging: Path) -> str:
    destination = staging / entry.filename
    destination.parent.mkdir(parents=True, exist_ok=True)
    # zipfile stops at the declared size and compares the checksum, so that the sizes checked above hold
    with bundle.open(entry) as source, destination.open("wb") as target:
        shutil.copyfileobj(source, target, CHUNK)
    return entry.filename


def _verify(folder: Path) -> None:
    try:
        files = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
        digests = {str(name): str(facts["sha256"]) for name, facts in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError("the archive holds no manifest.json that lists its files") from error
    for name, expected in digests.items():
        path = folder / PurePosixPath(name)
        if not path.resolve().is_relative_to(folder.resolve()) or not path.is_file():
            raise DownloadError(f"the manifest lists {name!r}, which the archive does not hold")
        if sha256_of(path) != expected:
            raise DownloadError(f"{name} is not the file that the manifest describes (its SHA-256 differs)")
