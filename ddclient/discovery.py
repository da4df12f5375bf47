"""Where the service is and which key opens it, found out by the client itself."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from platformdirs import user_data_path

from ddclient.errors import BadInputError

SERVICE_FILE = "service.json"
KEY_FILE = "api-key"


@dataclass(frozen=True)
class Endpoint:
    """An address, the key for it if one is known, and how the address was found."""

    url: str
    api_key: str | None
    source: str


def home() -> Path:
    """State folder of the local service: ``DD_HOME``, or the platform's user data folder."""
    configured = os.environ.get("DD_HOME")
    return Path(configured).expanduser().resolve() if configured else user_data_path("ddservice")


def locate(url: str | None = None, api_key: str | None = None) -> Endpoint:
    """Find the service and its key.

    The address is the argument, else ``DD_URL``, else what a running ``ddctl up`` wrote into the state
    folder, else ``DD_HOST`` and ``DD_PORT``. The key is the argument, else ``DD_API_KEY``, else the key
    file of the state folder; that file is used for this machine only, so that a local key is never
    sent to somebody else's server.

    Raises:
        BadInputError: the address is not an HTTP URL.
    """
    found, source = _address(url)
    parts = urlsplit(found)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadInputError(f"{source} is {found!r}, but must be an address such as http://127.0.0.1:8000")
    key = api_key or os.environ.get("DD_API_KEY") or None
    if key is None and is_loopback(parts.hostname):
        key = read_key(home())
    return Endpoint(found.rstrip("/"), key, source)


def is_named() -> bool:
    """Whether anything says that there is a service: a setting, or a ``ddctl up`` that runs.

    The default address alone does not: whatever answers there need not be one.
    """
    configured = any(os.environ.get(name) for name in ("DD_URL", "DD_API_KEY", "DD_HOST", "DD_PORT"))
    return configured or running_service(home()) is not None


def running_service(folder: Path) -> Mapping[str, Any] | None:
    """What ``ddctl up`` wrote into ``folder``, if the process that wrote it is alive."""
    try:
        document = json.loads((folder / SERVICE_FILE).read_text("utf-8"))
        pid = int(document["pid"])
        str(document["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return document if _is_alive(pid) else None


def _address(url: str | None) -> tuple[str, str]:
    if url:
        return url, "the address given"
    if configured := os.environ.get("DD_URL"):
        return configured, "DD_URL"
    if service := running_service(home()):
        return str(service["url"]), str(home() / SERVICE_FILE)
    host = os.environ.get("DD_HOST") or "127.0.0.1"
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - an address to bind is not one to call
        host = "127.0.0.1"
    if ":" in host:
        host = f"[{host}]"
    return f"http://{host}:{os.environ.get('DD_PORT') or 8000}", "the default address"


def read_key(folder: Path) -> str | None:
    """The key that a local service left in its state folder; ``None`` if it asks for none, or cannot be read."""
    try:
        return (folder / KEY_FILE).read_text("utf-8").strip() or None
    except OSError:
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
