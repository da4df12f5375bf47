"""What commands use of this machine without a service: the engine, and the data root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ddclient.discovery import home
from ddclient.errors import ClientError
from ddcore.machine import torch_messages

NEEDS_ENGINE = "this command needs the engine: pip install 'ddservice[engine]' (missing: {name})"
DataRoot = Annotated[Path | None, typer.Option(help="Folder of named datasets. Default: DD_DATA_ROOT.")]


def data_folder(given: Path | None) -> Path:
    """Where named datasets are looked for: the option, else ``DD_DATA_ROOT``, else in the state folder."""
    configured = given or os.environ.get("DD_DATA_ROOT")
    return Path(configured).expanduser() if configured else home() / "data"


def import_engine(module: str) -> Any:
    """A module of the engine, which not every installation has.

    Raises:
        ClientError: it is missing; the message says what to install.
    """
    import importlib

    torch_messages.hide_useless()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ClientError(NEEDS_ENGINE.format(name=error.name)) from error
