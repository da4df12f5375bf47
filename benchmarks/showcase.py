"""The README's picture, real and distilled digits with their accuracies: ``python -m benchmarks.showcase``.

It runs the job below and draws what comes of it. ``--bundle DIR`` draws the bundle of a job that has run. The picture
names what it was made from, so that a test can tell when it is out of date.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

import ddcore
from ddcore.bundle import lettering, read
from ddcore.bundle.content import Distilled
from ddcore.bundle.preview import picture, to_uint8
from ddcore.data import sources
from ddcore.spec import parse
from ddcore.spec.results import Score
from ddcore.version import __version__

JOB: dict[str, Any] = {
    "dataset": "digits",
    "ipc": 1,
    "method": {"name": "dm", "iterations": 300, "batch_real": 64},
    "network": {"name": "convnet", "width": 64},
    "evaluation": {
        "repeats": 3,
        "epochs": 100,
        "controls": ["random", "herding"],
        "teacher": {"network": {"name": "convnet", "width": 64}, "epochs": 10, "pool": 1},
    },
    "compile": "off",
}
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "digits.png"
INPUTS = "inputs"
"""Name of the text in the picture that has :func:`inputs`."""

_TILE, _GAP, _MARGIN, _LABEL, _BAR, _FONT = 56, 4, 16, 190, 24, 15
_PAPER, _INK = (255, 255, 255), (40, 40, 40)
_COLOURS = {"distilled": (31, 95, 191), "herding": (138, 143, 150), "random": (190, 194, 199)}
_WORDS = {
    "distilled": "trained on the distilled",
    "herding": "on real ones, by herding",
    "random": "on real ones, at random",
}


def inputs() -> str:
    """SHA-256 of all that the picture is made from: the job, this file and the version of the engine."""
    made_from = [JOB, __version__, Path(__file__).read_text("utf-8")]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def draw(content: Distilled) -> Image.Image:
    """A row of real images, the distilled ones below, and bars of the accuracies in percent.

    Args:
        content: the bundle of a finished :data:`JOB`.
    """
    rows = [("real", _real_row(content)), *_distilled_rows(content)]
    bars = _accuracies(content)
    width = 2 * _MARGIN + _LABEL + len(content.dataset.classes) * (_TILE + _GAP) + 60
    height = 2 * _MARGIN + len(rows) * (_TILE + _GAP) + _GAP * 3 + len(bars) * (_BAR + _GAP)
    canvas = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, (name, images) in enumerate(rows):
        top = _MARGIN + number * (_TILE + _GAP)
        _words(pen, (_MARGIN, top + _TILE / 2), name)
        for column, image in enumerate(to_uint8(images).numpy()):
            tile = picture(image).convert("RGB").resize((_TILE, _TILE), Image.Resampling.NEAREST)
            canvas.paste(tile, (_MARGIN + _LABEL + column * (_TILE + _GAP), top))
    top = _MARGIN + len(rows) * (_TILE + _GAP) + _GAP * 3
    for name, score in bars.items():
        _bar(pen, top, width - _MARGIN - 60, name, score)
        top += _BAR + _GAP
    return canvas


def _bar(pen: ImageDraw.ImageDraw, top: int, end: int, name: str, score: Score) -> None:
    left = _MARGIN + _LABEL
    _words(pen, (_MARGIN, top + _BAR / 2), _WORDS[name])
    right = left + (end - left) * score.mean / 100
    pen.rectangle((left, top, right, top + _BAR), fill=_COLOURS[name])
    _words(pen, (right + 6, top + _BAR / 2), f"{score.mean:.1f} %")


def _words(pen: ImageDraw.ImageDraw, where: tuple[float, float], text: str) -> None:
    pen.text(where, text, fill=_INK, font=lettering.font(_FONT), anchor="lm")


def _real_row(content: Distilled) -> torch.Tensor:
    """The first training image of each class, in pixel units."""
    train = sources.load(content.dataset.name).train
    first = [int((train.labels == label).nonzero()[0]) for label in range(len(train.classes))]
    return train.images[first].float() / 255


def _distilled_rows(content: Distilled) -> list[tuple[str, torch.Tensor]]:
    """The images of each class, one a row."""
    labels = content.labels.numpy()
    members = np.stack([np.flatnonzero(labels == label) for label in range(len(content.dataset.classes))])
    return [("distilled", content.images[rows]) for rows in members.T]


def _accuracies(content: Distilled) -> dict[str, Score]:
    results = content.results
    scores = {"distilled": results.accuracy, **{name: results.controls.get(name) for name in ("herding", "random")}}
    missing = [name for name, score in scores.items() if score is None]
    if missing:
        raise SystemExit(f"the bundle has no accuracy of {', '.join(missing)}; it is not one of the job in {__file__}")
    return {name: score for name, score in scores.items() if score is not None}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.showcase", description=__doc__)
    parser.add_argument("--bundle", type=Path, help="folder of a bundle of the job; default: run it, half a minute")
    given = parser.parse_args().bundle
    with TemporaryDirectory() as name:
        out = given or Path(name) / "out"
        if given is None:
            ddcore.run(parse(JOB), out, run_dir=Path(name) / "run")
        facts = PngInfo()
        facts.add_text(INPUTS, inputs())
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        draw(read(out)).save(PICTURE, pnginfo=facts, optimize=True)


if __name__ == "__main__":
    main()
