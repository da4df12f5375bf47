"""Commands that run the service or one part of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ddclient import demo as demonstration
from ddclient import discovery, embedded, output
from ddclient.client import Client
from ddclient.live import duration
from ddclient.output import JsonOption

Home = Annotated[Path | None, typer.Option(help="State folder. Default: DD_HOME, else the user's data folder.")]
Host = Annotated[str, typer.Option(envvar="DD_HOST", help="Address to bind.")]
Port = Annotated[int, typer.Option(envvar="DD_PORT", min=0, max=65_535, help="Port to bind; 0 for any free one.")]
DataRoot = Annotated[Path | None, typer.Option(envvar="DD_DATA_ROOT", help="Folder of named datasets.")]
DEFAULT_PORT = 8000
CHECK_S = 0.5


def up(
    home: Home = None,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    data_root: DataRoot = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole service on this machine until Ctrl-C or SIGTERM."""
    service = embedded.Service(home or discovery.home(), host=host, port=port, data_root=data_root)
    with embedded.running(service):
        link = _login_link(service)
        text = f"service    {service.url}\ndashboard  {_noted(link)}\nstate      {service.home}\nCtrl-C stops it"
        output.emit({"url": service.url, "login": link, "home": service.home}, text, as_json=as_json)
        _supervise(service)


def api(
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: DD_HOST, else 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port. Default: DD_PORT, else 8000.")] = None,
) -> None:
    """Run the API alone."""
    given = {"DD_HOST": host, "DD_PORT": None if port is None else str(port)}
    embedded.become("app", {name: value for name, value in given.items() if value is not None}, extra="server")


def worker() -> None:
    """Run one worker; it takes one job at a time."""
    embedded.become("worker", {}, extra="worker")


def migrate() -> None:
    """Bring the database to the schema of this version."""
    embedded.become("app.migrate", {}, extra="server")


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the bundle.")] = Path("out/demo"),
    home: Annotated[Path | None, typer.Option(help="State folder. Default: beside the bundle.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port. Default: 8000 if free, else any.")] = None,
    preset: Annotated[str, typer.Option(help="The job.")] = demonstration.PRESET,
    data_root: DataRoot = None,
    keep_running: Annotated[bool, typer.Option("--keep-running", help="Leave the service up until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start the service, distil the handwritten digits, and show what came of it; about a minute."""
    folder = (home or out.with_name(f"{out.name}-home")).resolve()
    service = embedded.Service(folder, port=_port(port), data_root=data_root, isolated=True)
    with embedded.running(service):
        output.note(f"service at {service.url}, dashboard {_noted(_login_link(service))}")
        shown = demonstration.demonstrate(service, {"preset": preset}, out)
        job = shown.job.document
        document = {
            "job": job,
            "bundle": str(shown.bundle.path),
            "seconds": round(shown.seconds, 1),
            "url": service.url,
        }
        text = "\n".join(
            (
                f"distilled  {output.summary(job.spec)}, in {duration(shown.seconds)}",
                f"accuracy   {output.accuracy(job.results, job.runtime_s)}",
                f"bundle     {shown.bundle.path}",
                f"job        {service.url}/v1/jobs/{job.id}",
                f"dashboard  ddctl up --home {_shown(folder)}   starts the service again, with this job in it",
            )
        )
        output.emit(document, text, as_json=as_json)
        if keep_running:
            output.note(f"the service goes on at {_login_link(service)}; Ctrl-C stops it")
            _supervise(service)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (up, demo, api, worker, migrate):
        app.command()(command)


def _supervise(service: embedded.Service) -> None:
    """Return when the user wants the service to stop."""
    try:
        while True:
            service.check()
            time.sleep(CHECK_S)
    except KeyboardInterrupt:
        output.note("stopping; running jobs save their state and go on at the next start")


def _login_link(service: embedded.Service) -> str:
    if service.api_key is None:
        return service.url
    with Client(service.url, service.api_key) as client:
        return client.login_link()


def _port(given: int | None) -> int:
    if given is not None:
        return given
    return DEFAULT_PORT if embedded.is_free("127.0.0.1", DEFAULT_PORT) else 0


def _shown(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _noted(link: str) -> str:
    """A link to the dashboard, with what to know of one that carries a token; a service without keys gives none."""
    return f"{link} (opens once)" if "?token=" in link else link
