"""What this machine offers the service: versions, devices, data, settings, disk."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ddclient.client import Client
from ddclient.discovery import home, locate
from ddclient.errors import ClientError
from ddclient.own_modules import run_module
from ddcore.spec import DATASETS, broken_offers, discovery
from ddcore.spec.local_sets import STORED_FACTS
from ddcore.version import __version__

PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "fastapi", "sqlalchemy", "celery", "kombu", "redis", "psycopg", "pydantic",
)  # fmt: skip
LOW_DISK = 5 * 10**9
PROBE_S = 60
PROBE = "app.system.probe"
"""Looks at the service's own parts."""

Verdict = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ``facts`` for programs, ``text`` for people."""

    name: str
    verdict: Verdict
    text: str
    facts: dict[str, Any]


def examine(data_root: Path) -> list[Finding]:
    """Look at everything; nothing that is broken keeps the rest from being looked at."""
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("versions", _versions),
        ("compute", _compute),
        ("extensions", _extensions),
        ("data", lambda: _data(data_root)),
        ("disk", _disk),
        ("service", _service),
    )
    return [*(_guarded(name, check) for name, check in checks), *_parts()]


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # a doctor reports a broken library or folder of any kind, it does not die of it
        return Finding(name, "error", f"{type(error).__name__}: {error}", {})


def _versions() -> Finding:
    found: dict[str, Any] = {
        "ddservice": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
    }
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return Finding("versions", "ok", ", ".join(f"{name} {v or '(absent)'}" for name, v in found.items()), found)


def _compute() -> Finding:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return Finding("compute", "warning", f"no engine here: {error}; pip install 'ddservice[engine]'", {})
    compiler, compute = (importlib.import_module(f"ddcore.machine.{name}") for name in ("compiler", "compute"))
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    devices = {}
    for name in ("cpu", *names):
        device = torch.device(name)
        obstacle = compiler.missing_compiler(device)
        title = platform.processor() or platform.machine() if name == "cpu" else torch.cuda.get_device_name(device)
        devices[name] = {"name": title, "bf16": compute.computes_bf16(device), "no_compiler_because": obstacle}
    parts = [
        f"{name} ({facts['name']}): bf16 {'yes' if facts['bf16'] else 'no'}, "
        f"compiler {'no, ' + facts['no_compiler_because'] if facts['no_compiler_because'] else 'yes'}"
        for name, facts in devices.items()
    ]
    facts = {"devices": devices, "threads": torch.get_num_threads(), "cpus": os.cpu_count()}
    return Finding("compute", "ok", f"{'; '.join(parts)}; {facts['threads']} threads", facts)


def _extensions() -> Finding:
    """What other distributions offer; their implementations and readers only where there is an engine to load them."""
    broken_offers()
    with suppress(ImportError):
        importlib.import_module("torch")
        importlib.import_module("ddcore.registry").load_others()
        importlib.import_module("ddcore.data.readers").readers()
    broken, offered = discovery.broken(), discovery.offered()
    left_out = {(one.group, one.name, one.distribution) for one in broken}
    used = [f"{name} ({group}, {whose})" for group, name, whose in offered if (group, name, whose) not in left_out]
    text = "\n".join([", ".join(used) or "none", *map(str, broken)])
    facts = {"used": used, "left_out": [asdict(one) for one in broken]}
    return Finding("extensions", "warning" if broken else "ok", text, facts)


def _data(root: Path) -> Finding:
    """The sets of the data root, each read as a job would read it: its labels, and its first images."""
    if not root.is_dir():
        return Finding("data", "warning", f"{root} does not exist; `digits` needs no files", {"root": str(root)})
    names = sorted({entry.name for entry in root.iterdir() if entry.is_dir()})
    found = {name: _read_set(root / name) for name in names}
    broken = [name for name, read in found.items() if isinstance(read, str)]
    absent = [name for name, facts in DATASETS.items() if facts.download and name not in found]
    listed = [f"{name}: {read if isinstance(read, str) else _counted(read)}" for name, read in found.items()]
    text = "\n".join([f"{root}", *listed, f"not there: {', '.join(absent) or 'none'}"])
    facts = {"root": str(root), "found": found, "broken": broken, "absent": absent}
    return Finding("data", "error" if broken else "ok", text, facts)


def _read_set(place: Path) -> dict[str, int] | str:
    """Images of each split, or why the set cannot be read."""
    try:
        sources, source, errors = (
            importlib.import_module(f"ddcore.{name}") for name in ("data.sources", "data.source", "errors")
        )
    except ImportError as error:
        return f"not read: there is no engine here ({error.name} is missing)"
    try:
        if (place / STORED_FACTS).is_file():
            stored = sources.load(place.name, place.parent)
            return {"train": len(stored.train.labels), "test": len(stored.test.labels)}
        counted: dict[str, int] = {}
        readers = importlib.import_module("ddcore.data.readers")
        for part in readers.match(place).read(source.Choices()).parts:
            next(iter(part.images()))
            counted[part.split or "all"] = counted.get(part.split or "all", 0) + len(part)
    except errors.DataError as error:
        return str(error)
    return counted


def _counted(splits: dict[str, int]) -> str:
    return ", ".join(f"{split} {count:,}" for split, count in splits.items())


def _parts() -> list[Finding]:
    """Settings, database, broker and store, as the service itself finds them."""
    answer = run_module(PROBE, timeout_s=PROBE_S)
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines() or ["no reason given"]
        reason = lines[-1] if "ModuleNotFoundError" in lines[-1] else "\n".join(lines[-6:])
        return [Finding("settings", "error", f"the service's settings cannot be read: {reason}", {})]
    document = json.loads(answer.stdout)
    settings: dict[str, Any] = document["settings"]
    text = "\n".join(f"{name}={value}" for name, value in settings.items())
    checks = [Finding(name, verdict, text, {}) for name, (verdict, text) in document["checks"].items()]
    return [Finding("settings", "ok", text, settings), *checks]


def _disk() -> Finding:
    folder = home()
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    verdict: Verdict = "warning" if usage.free < LOW_DISK else "ok"
    return Finding("disk", verdict, f"{usage.free / 1e9:.1f} GB free at {home()}", {"free": usage.free})


def _service() -> Finding:
    endpoint = locate()
    facts = {"url": endpoint.url, "source": endpoint.source, "has_key": endpoint.api_key is not None}
    try:
        with Client(timeout=3.0) as client:
            health = client.health()
    except ClientError as error:
        return Finding("service", "warning", str(error), facts)
    key = "with a key" if endpoint.api_key else "without a key"
    return Finding("service", "ok", f"{endpoint.url} is ready, {key}", facts | {"health": health})
