"""What a job leaves behind, fetched and checked; a part of :class:`ddclient.Client`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ddclient import bundle, calls, formats
from ddclient.bundle import Bundle, Remote
from ddclient.connection import Connection
from ddclient.formats import Format
from ddclient.models import Artifact


class Files(Connection):
    """The files of jobs."""

    def artifacts(self, job_id: str) -> list[Artifact]:
        """The files that a job has made so far."""
        return self._transport.send(calls.artifacts(job_id))

    def download(self, job_id: str, out: str | Path) -> Bundle:
        """Fetch a job's bundle, check it and unpack it into the folder ``out``.

        A download that broke off goes on where it stopped when it is called again.

        Raises:
            ClientError: the job has no bundle (yet).
            DownloadError: what arrived is not what the service promised.
        """
        found = bundle.newest(self.artifacts(job_id), job_id)
        folder = Path(out)
        archive = bundle.fetch(self._transport, Remote.of(found), folder / f".{job_id}.zip")
        try:
            return bundle.unpack(archive, folder)
        finally:
            archive.unlink()

    def report(self, job_id: str) -> str:
        """The result of a job as one HTML page that needs no network: accuracy, curves, images, neighbours, recipe.

        Raises:
            ProblemError: the job has no result (yet).
        """
        return self._transport.request("GET", f"/v1/jobs/{job_id}/report").text

    def export(self, job_id: str, out: str | Path, format: Format | str = Format.BUNDLE) -> Path:
        """Fetch a job's distilled set in one of several forms.

        Args:
            job_id: the job.
            out: folder to write to.
            format: ``bundle`` (all of it), ``npz`` (arrays of NumPy), ``folder`` (8-bit PNGs, a folder a class), or
                ``parquet`` (as Hugging Face datasets are stored).

        Returns:
            The folder, or the ``.npz`` file.

        Raises:
            ClientError: the job has no result (yet).
            DownloadError: what arrived is not what the service promised.
        """
        chosen, folder = Format(format), Path(out)
        if chosen in (Format.BUNDLE, Format.PARQUET):
            if chosen is Format.BUNDLE:
                return self.download(job_id, folder).path
            with TemporaryDirectory() as temporary:
                return formats.parquet(self.download(job_id, temporary), folder)
        found = bundle.newest(self.artifacts(job_id), job_id, formats.KINDS[chosen])
        fetched = self.fetch(found, folder / Path(found.name).name)
        return fetched if chosen is Format.NPZ else formats.unzip(fetched, folder)

    def fetch(self, artifact: Artifact, target: str | Path) -> Path:
        """Fetch one file of a job, check it and store it as ``target``.

        Raises:
            DownloadError: what arrived is not what the service promised.
        """
        return bundle.fetch(self._transport, Remote.of(artifact), Path(target))
