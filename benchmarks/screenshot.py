"""The README's screenshot, the page of a finished job: ``python -m benchmarks.screenshot``, about a minute.

It starts the service on this machine, runs the job below, and looks at its page in Chromium. The picture names what it
was made from, so that a test can tell when the page has changed since.
"""

from __future__ import annotations

import hashlib
import io
import json
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from jinja2 import Environment, meta
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Page

from benchmarks.chromium import launched
from ddclient import Client
from ddclient.embedded import Service, running
from ddcore.version import __version__

JOB: dict[str, Any] = {
    "preset": "quick/dm-mim-cmi-digits",
    "snapshots": {"every": 50},
    "metrics": {"every": 5},
    "evaluation": {"during": {"every": 20, "epochs": 60}, "audit": True},
}
NAME = "Digits, two images per class"
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "job.png"
INPUTS = "inputs"
"""Name of the text in the picture that has :func:`inputs`."""
WIDTH, HEIGHT = 1200, 1320
LONGEST_S = 600.0


def inputs() -> str:
    """SHA-256 of all that the page is drawn from: the job, this file, the version, the templates, style and scripts."""
    here = files("app.dashboard")
    parts = [json.dumps(JOB, sort_keys=True), __version__, Path(__file__).read_text("utf-8")]
    parts += [(here / "templates" / name).read_text("utf-8") for name in templates_of("job.html")]
    parts += [(here / "static" / name).read_text("utf-8") for name in ("style.css", "plot_look.js", "plot_options.js")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def templates_of(name: str) -> list[str]:
    """A template and all that it includes, extends and imports."""
    found: list[str] = []

    def add(each: str) -> None:
        if each not in found:
            found.append(each)
            text = (files("app.dashboard") / "templates" / each).read_text("utf-8")
            for other in sorted(filter(None, meta.find_referenced_templates(Environment().parse(text)))):
                add(other)

    add(name)
    return found


def shot(page: Page, url: str) -> bytes:
    """The page as PNG, once its curves are drawn."""
    page.goto(url)
    for title in ("Loss", "Accuracy"):
        page.locator(f'[data-title^="{title}"] canvas').first.wait_for()
    page.wait_for_load_state("networkidle")
    return page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT})


def looked_at(service: Service, job_id: str) -> bytes:
    """The page of a job in Chromium, in light colours."""
    answer = httpx.post(f"{service.url}/v1/login-links", headers={"Authorization": f"Bearer {service.api_key}"})
    link = str(answer.raise_for_status().json()["url"])
    with launched() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(link)
        return shot(page, f"{service.url}/jobs/{job_id}")


def main() -> None:
    with TemporaryDirectory() as home:
        service = Service(Path(home), port=0, isolated=True)
        with running(service), Client(service.url, service.api_key) as client:
            job = client.submit(JOB, name=NAME).wait(timeout=LONGEST_S)
            picture = Image.open(io.BytesIO(looked_at(service, job.id)))
    facts = PngInfo()
    facts.add_text(INPUTS, inputs())
    # A page has few colours: a palette makes the file a third as large, and nobody sees it.
    picture.convert("RGB").quantize(256).save(PICTURE, pnginfo=facts, optimize=True)


if __name__ == "__main__":
    main()
