"""Commands about the installation itself."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ddclient import output
from ddclient.client import Client
from ddclient.commands.this_machine import DataRoot, data_folder, run_service_module
from ddclient.errors import BadInputError, Exit
from ddclient.output import JsonOption
from ddcore.spec import did_you_mean
from ddcore.version import __version__

FSCK = "app.system.fsck"
DAMAGED = 3
"""Its exit status where something is damaged or missing."""
STYLES = {"ok": "green", "warning": "yellow", "error": "red"}


def doctor(data_root: DataRoot = None, as_json: JsonOption = False) -> None:
    """Show versions, devices, data, settings (secrets masked), disk and whether the service answers."""
    from ddclient.doctor import examine

    findings = examine(data_folder(data_root))
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        table.add_row(finding.name, Text(finding.verdict, style=STYLES[finding.verdict]), finding.text)
    document = {f.name: {"verdict": f.verdict, "text": f.text, **f.facts} for f in findings}
    output.emit(document, table, as_json=as_json)
    if any(finding.verdict == "error" for finding in findings):
        raise typer.Exit(Exit.FAILED)


def login(as_json: JsonOption = False) -> None:
    """Print a link that opens the dashboard once."""
    with Client() as client:
        link = client.login_link()
    output.emit({"url": link}, link, as_json=as_json)


def fsck(as_json: JsonOption = False) -> None:
    """Hold the files of the store against what the database says; on the machine of the service. It changes nothing."""
    answer = run_service_module(FSCK, "--json", fine=(0, DAMAGED), otherwise="the check did not end")
    found = [json.loads(line) for line in answer.stdout.splitlines()]
    table = Table("what", "SHA-256", "needed by", "what to do", box=None, pad_edge=False)
    for one in found:
        table.add_row(one["kind"], one["sha256"][:16], ", ".join(one["of"]), one["remedy"])
    output.emit(found, table if found else answer.stderr.strip(), as_json=as_json)
    if answer.returncode:
        raise typer.Exit(Exit.FAILED)


def whoami(as_json: JsonOption = False) -> None:
    """Show the tenant of the key, what it may do, and how many jobs may wait."""
    with Client() as client:
        found = client.me()
    scopes = ", ".join(found["scopes"])
    text = (
        f"tenant {found['tenant_id']}, key {found['key_id'] or 'none'}, scopes {scopes}; "
        f"{found['unfinished_jobs']} of at most {found['max_unfinished_jobs']} unfinished jobs"
    )
    output.emit(found, text, as_json=as_json)


def workers(
    cordon: Annotated[str | None, typer.Option(metavar="ID", help="Have this one claim no more jobs.")] = None,
    drain: Annotated[str | None, typer.Option(metavar="ID", help="And have it hand back the job it runs.")] = None,
    uncordon: Annotated[str | None, typer.Option(metavar="ID", help="Let this one claim jobs again.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the workers that are alive, and what they run; or tell one of them what to do, for operators."""
    told = {"cordon": cordon, "drain": drain, "uncordon": uncordon}
    with Client() as client:
        for verb, worker_id in told.items():
            if worker_id is not None:
                client.tell_worker(worker_id, verb)
        found = client.workers()
    table = Table("id", "name", "device", "state", "wanted", "job", "since", box=None, pad_edge=False)
    for one in found:
        names = ("id", "name", "device_class", "state", "wanted", "job_id", "started_at")
        cells = (one[name] for name in names)
        table.add_row(*(str(cell or "")[:40] for cell in cells))
    text = table if found else "no worker is alive; jobs wait until one starts (`ddctl up`, `ddctl worker`)"
    output.emit(found, text, as_json=as_json)


def problems(
    code: Annotated[str | None, typer.Argument(help="One of them, such as quota_exceeded.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """List the kinds of refusals of the service by their codes, or explain one."""
    with Client() as client:
        known = {problem["code"]: problem for problem in client.problems()}
    if code is not None and code not in known:
        raise BadInputError(f"there is no problem '{code}'{did_you_mean(code, known)}; `ddctl problems` lists all")
    chosen = list(known.values()) if code is None else [known[code]]
    table = Table("code", "status", "meaning", box=None, pad_edge=False)
    for problem in chosen:
        table.add_row(problem["code"], str(problem["status"]), problem["description"])
    output.emit(chosen, table, as_json=as_json)


def version(as_json: JsonOption = False) -> None:
    """Print the version."""
    output.emit({"version": __version__}, __version__, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (doctor, fsck, login, whoami, workers, problems, version):
        app.command()(command)
