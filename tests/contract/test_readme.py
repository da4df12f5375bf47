"""Every command and every Python block of the README runs as printed and does what the text says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.contract.conftest import ROOT, Live

BLOCK = re.compile(
    r"(?P<skip><!-- not run by the tests: .*? -->\n)?```(?P<language>bash|python)\n(?P<text>.*?)```", re.S
)
SEPARATOR = "\x1e"
OWN = re.compile(r"photos@\d+, 2 images a class")
"""Other tests may have sent sets of that name to the same service."""
JOB = re.compile(r"^job_[0-9a-z]{26}$")


def submitted(out: str) -> bool:
    return JOB.fullmatch(out.strip()) is not None


def polled(out: str) -> bool:
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(out)
    second, _ = decoder.raw_decode(out[end:].lstrip())
    return bool(first["status"] in {"queued", "running"} and first["id"] == second["id"])


def streamed(out: str) -> bool:
    ids = [int(line.removeprefix("id:")) for line in out.splitlines() if line.startswith("id:")]
    return ids == list(range(1, len(ids) + 1)) and out.rstrip().rpartition("event: end")[1] != "" and "succeeded" in out


def queried(out: str) -> bool:
    series = {one["key"]: one for one in json.loads(out)["series"]}
    return set(series) == {"loss", "mi_lower_bound", "cmi"} and all(0 < len(s["last"]) <= 50 for s in series.values())


def downloaded(out: str) -> bool:
    lines = out.splitlines()
    etag = next(line.split('"')[1] for line in lines if line.lower().startswith("etag:"))
    return lines[:2] == ["206", "206"] and lines[-1] == f"{etag}  bundle.zip"


CHECKS: dict[str, Callable[[str], bool]] = {
    "AUTH=": lambda out: out == "",
    "Idempotency-Key": submitted,
    "?wait=5": polled,
    "events:stream": streamed,
    "metrics:query": queried,
    "sha256sum": downloaded,
    "client.distill": lambda out: "'mean'" in out,
    "ddctl submit digits": lambda out: "succeeded" in out and "random real images" in out and "lr_img" in out,
    "ddctl submit photos": lambda out: (
        bool(re.search(r"photos@\d+, 2 images a class", out)) and out.count("accuracy  ") == 2
    ),
    "ddctl train-on distilled": lambda out: out.count("accuracy  ") == 2 and "reported" in out,
    "ddctl auto": lambda out: (
        "succeeded" in out and "winner    " in out and "coreset   " in out and "photos-best" in out
    ),
    "ddctl study create": lambda out: (
        "rung 0, 100 % of the steps: 2 of 2 scored" in out and "winner    " in out and out.count("study_") >= 2
    ),
    "load_file": lambda out: out == "",
}


def runnable() -> list[tuple[str, str]]:
    """Language and text of each block that the tests run."""
    found = BLOCK.finditer((ROOT / "README.md").read_text("utf-8"))
    return [(block["language"], block["text"]) for block in found if not block["skip"]]


def test_every_block_is_checked() -> None:
    for _, text in runnable():
        assert sum(mark in text for mark in CHECKS) == 1, text
    assert len(runnable()) == len(CHECKS)


def photographs(folder: Path) -> None:
    """600 images of mixed formats and sizes in three classes, which differ in their colours."""
    rng = np.random.default_rng(0)
    for number in range(600):
        kind = number % 3
        path = (
            folder / ("birds", "trees", "sea and sky")[kind] / f"{number}.{('jpg', 'png', 'webp', 'bmp')[number % 4]}"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        width, height = rng.integers(40, 120, 2).tolist()
        rough = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        rough[:, :, kind] //= 4
        Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC).save(path)


@pytest.mark.slow
def test_the_readme_runs_as_printed(live: Live, tmp_path: Path) -> None:
    photographs(tmp_path / "photos")
    script = ["set -euo pipefail"]
    for language, text in runnable():
        text = text.replace("http://127.0.0.1:8000", live.service.url)
        script += [text if language == "bash" else f"python - <<'README'\n{text}README", f"printf '{SEPARATOR}'"]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path,
        env=live.environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = done.stdout.split(SEPARATOR)[:-1]
    for (_, text), out in zip(runnable(), outputs, strict=True):
        [check] = [check for mark, check in CHECKS.items() if mark in text]
        assert check(out), f"{text}\n--- printed\n{out}"
