"""Images on their way to the service, with a bar, and commands that may do where they cannot be taken in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddclient import output
from ddclient.client import Client
from ddclient.commands.ingest_options import commands, text_of
from ddclient.dataset import Dataset
from ddclient.errors import DatasetFailedError
from ddclient.progress import bar
from ddcore.spec.ingest import IngestOptions
from ddcore.spec.local_sets import usual_name


def send(client: Client, path: Path, name: str | None, options: IngestOptions) -> Dataset:
    """Send images to the service and wait until they are taken in, with a bar.

    Raises:
        DatasetFailedError: they could not be; the message names commands that may do.
    """
    called = name or usual_name(path.expanduser())
    doing = "sending"

    def tell(what: str, done: int, total: int | None) -> None:
        nonlocal doing
        doing = what
        told(what, done, total)

    try:
        with bar() as told, advised(options):
            return client.datasets.add(path, name=called, progress=tell, **options.model_dump(exclude_unset=True))
    except KeyboardInterrupt:
        output.note(
            "stopped; the same command goes on with what has been sent"
            if doing == "sending"
            else f"detached; the service goes on taking {called} in, `ddctl datasets show {called}` tells how far it is"
        )
        raise


def reference_of(client: Client, path: Path, options: IngestOptions) -> str:
    """The reference of the set that a path of images becomes; what was found in it is told on standard error.

    Raises:
        DatasetFailedError: the images could not be taken in; the message names commands that may do.
    """
    dataset = send(client, path, None, options)
    output.note(f"{text_of(dataset.report())}\n  kept      as {dataset.reference} in the service at {client.url}")
    return dataset.reference


@contextmanager
def advised(options: IngestOptions) -> Iterator[None]:
    """Within this, images that could not be taken in are answered with commands that may do."""
    try:
        yield
    except DatasetFailedError as error:
        again = ["ddctl", "datasets", "ingest", error.dataset_id]
        hint = "\nits files are kept for a while and need not be sent again:"
        hint += commands(error.reason or "", again, options) or f" {shlex.join(again)}, with other options"
        raise DatasetFailedError(error.dataset_id, error.name, error.state, error.reason, hint) from error
