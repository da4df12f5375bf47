"""``ddctl auto``: from images to the set that serves them best, in one command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ddclient import discovery, embedded, output, study_request, study_text
from ddclient.client import Client
from ddclient.commands import ingest_options as own
from ddclient.commands.service import DataRoot
from ddclient.commands.studies import By, Label, Name, Priority, labels_of, send_images
from ddclient.commands.study_following import follow
from ddclient.errors import BadInputError
from ddclient.output import JsonOption

MINUTES = 20.0
Check = Callable[[], None]


def auto(
    dataset: Annotated[
        str,
        typer.Argument(metavar="PATH|DATASET", help="Images: a path with a /; or a set's name.", show_default=False),
    ],
    ipc: Annotated[int, typer.Option(help="Synthetic images per class.")] = 10,
    minutes: Annotated[float, typer.Option(min=0, help="Budget: about so many minutes of work.")] = MINUTES,
    objective: By = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for the winner's bundle.")] = None,
    name: Name = None,
    label: Label = None,
    priority: Priority = None,
    size: own.Size = None,
    fit: own.Fit = None,
    test_split: own.TestSplit = None,
    label_column: own.LabelColumn = None,
    skip_unreadable: own.SkipUnreadable = False,
    local: Annotated[bool, typer.Option("--local", help="Where no service runs, run one here meanwhile.")] = False,
    data_root: DataRoot = None,
    as_json: JsonOption = False,
) -> None:
    """Try methods and settings on images, and keep the best set: send them, search, and fetch what won.

    Ctrl-C detaches; `ddctl study watch ID` takes it up again.
    """
    ingest = own.options(
        size=size, fit=fit, test_split=test_split, label_column=label_column, skip_unreadable=skip_unreadable
    )
    request = study_request.build(
        job={"dataset": dataset, "ipc": ipc}, minutes=minutes, objective=objective,
        name=name, labels=labels_of(label), priority=priority,
    )  # fmt: skip
    with _service(local=local, data_root=data_root) as (client, check, ours):
        send_images(client, request, ingest)
        output.note(study_text.validated(client.validate_study(request)))
        study = client.submit_study(request)
        output.note(f"{study.id}  {client.url}/studies/{study.id}")
        back = f"`ddctl up` goes on with it, and `ddctl study watch {study.id}` returns to it" if ours else ""
        follow(study, as_json=as_json, out=out, check=check, back=back)


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(auto)


@contextmanager
def _service(*, local: bool, data_root: Path | None) -> Iterator[tuple[Client, Check | None, bool]]:
    """The service that was found, or one of this command's own; what notices that it died, and whether it is our own.

    Raises:
        BadInputError: a service on this machine is asked for where the environment names another one.
    """
    if not local or discovery.running_service(discovery.home()) is not None:
        with Client() as client:
            yield client, None, False
        return
    if discovery.is_named():
        where = discovery.locate()
        raise BadInputError(f"--local is for this machine, but {where.source} names {where.url}; leave one of them out")
    service = embedded.Service(discovery.home(), port=0, data_root=data_root)
    with embedded.running(service), Client(service.url, service.api_key) as client:
        yield client, service.check, True
