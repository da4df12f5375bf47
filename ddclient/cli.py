"""``ddctl``: the whole product from a terminal.

Exit status: 0 the job succeeded (or the command did), 1 it failed or expired, 2 bad input,
3 cancelled, 4 no service answers, 5 the service refused, 75 stopped with its state saved,
130 detached by Ctrl-C.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.exceptions import TyperException

from ddclient import output, spelling
from ddclient.commands import (
    auto,
    catalog,
    changes,
    checking,
    compare,
    datasets,
    engine,
    jobs,
    keys,
    list_jobs,
    records,
    score,
    scores,
    service,
    studies,
    system,
    team,
    webhooks,
)
from ddclient.errors import ClientError, Exit
from ddcore.errors import DistillationError
from ddcore.spec import SpecError
from ddcore.version import __version__

EPILOG = (
    "Exit status: 0 succeeded, 1 failed or expired, 2 bad input, 3 cancelled, 4 no service answers, "
    "5 refused by the service, 75 stopped with its state saved, 130 detached."
)

app = typer.Typer(
    name="ddctl",
    cls=spelling.Verbs,
    help="Dataset distillation as a service: a few synthetic images per class that train a model almost as well.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
COMMANDS = (
    service, auto, jobs, list_jobs, checking, changes, compare, records, studies, datasets, catalog, keys, team,
    webhooks, engine, score, scores, system,
)  # fmt: skip
for module in COMMANDS:
    module.register(app)


def _version(asked: bool) -> None:
    if asked:
        output.emit({"version": __version__}, __version__, as_json=False)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Dataset distillation as a service: a few synthetic images per class that train a model almost as well."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``ddctl`` and end the process with its exit status.

    Args:
        arguments: words after ``ddctl``. Default: those of the process.
    """
    gc.freeze()  # All that is imported stays; looking through it for garbage takes a quarter of a short command.
    given = list(sys.argv[1:] if arguments is None else arguments)
    raise SystemExit(invoke(given))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; every error comes out as text, or JSON under ``--json``."""
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # the reader of our output has gone (`ddctl list | head`); what is left must not be flushed at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED


def _run(arguments: Sequence[str]) -> int:
    """The same, where somebody reads the output.

    Raises:
        BrokenPipeError: nobody does any more.
    """
    as_json = "--json" in arguments
    try:
        status = app(list(arguments), prog_name="ddctl", standalone_mode=False)
        return status if isinstance(status, int) else Exit.SUCCEEDED
    except TyperException as error:
        return _report({"code": "usage", "message": spelling.message(error)}, Exit.BAD_INPUT, as_json=as_json)
    except ClientError as error:
        return _report(error.as_dict(), error.exit_code, as_json=as_json)
    except SpecError as error:
        faults = [{"pointer": p.pointer, "code": p.code, "detail": p.detail} for p in error.problems]
        document = {"code": "bad_specification", "message": str(error), "errors": faults}
        return _report(document, Exit.BAD_INPUT, as_json=as_json)
    except DistillationError as error:
        return _report({"code": error.code, "message": str(error)}, Exit.FAILED, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _report({"code": "interrupted", "message": "interrupted"}, Exit.DETACHED, as_json=as_json)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _report({"code": "os_error", "message": str(error)}, Exit.FAILED, as_json=as_json)
    except Exception as error:
        return _report(_unexpected(error), Exit.FAILED, as_json=as_json)


def _report(document: dict[str, Any], status: int, *, as_json: bool) -> int:
    if as_json:
        output.emit({"error": document}, "", as_json=True)
    elif document["message"]:
        output.note(f"error: {document['message']}")
    return int(status)


def _unexpected(error: Exception) -> dict[str, Any]:
    """A fault of ours: the user gets one line, the report of the fault gets the rest."""
    with tempfile.NamedTemporaryFile("w", prefix="ddctl-", suffix=".log", delete=False) as log:
        traceback.print_exception(error, file=log)
    message = f"this is a fault of ddctl ({type(error).__name__}: {error}); please report it with {log.name}"
    return {"code": "internal", "message": message, "log": log.name}


if __name__ == "__main__":
    main()
