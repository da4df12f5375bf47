"""What commands use of this machine without a service: the engine, and the data root."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Annotated, Any

import typer

from ddclient.discovery import home
from ddclient.errors import ClientError
from ddclient.own_modules import run_module
from ddcore.machine import torch_messages

NEEDS_ENGINE = "this command needs the engine: pip install 'ddservice[engine]' (missing: {name})"
DataRoot = Annotated[Path | None, typer.Option(help="Folder of named datasets. Default: DD_DATA_ROOT.")]


def data_folder(given: Path | None) -> Path:
    """Where named datasets are looked for: the option, else ``DD_DATA_ROOT``, else in the state folder."""
    configured = given or os.environ.get("DD_DATA_ROOT")
    return Path(configured).expanduser() if configured else home() / "data"


def backbones_folder() -> Path:
    """Where weights of networks that others trained are: ``DD_BACKBONES_DIR``, else in the state folder."""
    configured = os.environ.get("DD_BACKBONES_DIR")
    return Path(configured).expanduser() if configured else home() / "backbones"


def run_service_module(
    module: str, *arguments: str, fine: tuple[int, ...] = (0,), otherwise: str
) -> subprocess.CompletedProcess[str]:
    """Run a module of the service, as :func:`run_module` does, and say why it failed where it did.

    Args:
        module: its full name.
        *arguments: of its command line.
        fine: exit statuses that are no failure.
        otherwise: what a failure means, such as ``no key was made``.

    Raises:
        ClientError: it failed; says why.
    """
    answer = run_module(module, *arguments)
    if answer.returncode not in fine:
        raise ClientError(f"{otherwise}: {answer.stderr.strip() or 'no reason given'}")
    return answer


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
