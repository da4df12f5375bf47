"""The compose file as plain processes: each service's own command and environment, on this machine's addresses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.contract.conftest import ROOT

VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?[^}]*)?\}")
STATE = "/var/lib/ddservice"


def services(secrets: Mapping[str, str]) -> dict[str, Any]:
    """The services of the compose file, with its variables filled in.

    Raises:
        KeyError: a required variable is not among ``secrets``.
    """

    def value(match: re.Match[str]) -> str:
        default = match["default"]
        return secrets[match["name"]] if default is None else secrets.get(match["name"], default)

    document = yaml.safe_load(VARIABLE.sub(value, (ROOT / "docker-compose.yml").read_text("utf-8")))
    found: dict[str, Any] = document["services"]
    return found


@dataclass
class Machine:
    """Runs services of the compose file as processes of this machine.

    Args:
        services: what :func:`services` read.
        folder: where the volumes are.
        replacements: settings that name an address inside the compose network, by their value here.
    """

    services: Mapping[str, Any]
    folder: Path
    replacements: Mapping[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, service: str, number: int = 1) -> subprocess.Popen[bytes]:
        """Start one container of a service: its command, its environment, a state folder of its own."""
        description = self.services[service]
        home = self.folder / f"{service}-{number}"
        home.mkdir()
        settings = {name: self._here(str(value)) for name, value in description["environment"].items()}
        settings |= {name: value for name, value in self.replacements.items() if name in settings}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DD_")}
        # the image sets DD_HOME; short leases, so that a test need not wait a minute for one to end
        timing = {"DD_HOME": str(home), "DD_LEASE_S": "4", "DD_HEARTBEAT_S": "0.5", "DD_RECONCILE_S": "0.5"}
        python, *arguments = description["command"]
        assert python == "python"
        with (self.folder / f"{service}-{number}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**inherited, **settings, **timing, "PYTHONPATH": str(ROOT)},
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def stop(self) -> list[int]:
        """Stop everything as ``docker compose down`` does, and return the exit statuses."""
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        try:
            return [process.wait(60) for process in self.running]
        finally:
            for process in self.running:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def logs(self) -> str:
        """What the processes said last, for the message of a failed test."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log")))

    def _here(self, value: str) -> str:
        return str(self.folder / Path(value).name) if value.startswith(STATE) or value == "/data" else value
