"""Names in pictures: Latin, Greek, Cyrillic, Georgian, Armenian, Hebrew and Arabic letters, and none as empty boxes.

The letters are those of DejaVu Sans, in the copy that matplotlib ships. Pillow shapes them and orders right-to-left
text.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont, features

_FONT = "mpl-data/fonts/ttf/DejaVuSans.ttf"
_LONGEST = 60
"""Letters of a name that are drawn at most, however narrow they are."""
_NO_LETTER = "\uffff"
"""No font has this one, so it is drawn as the box of what is missing."""
_REPLACEMENT = "\ufffd"
_JOINERS = "\u200c\u200d"
_RIGHT_TO_LEFT = ("R", "AL", "AN")


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font of the pictures.

    Args:
        size: height of a line in pixels, positive.
    """
    package = find_spec("matplotlib")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pictures need the font that matplotlib ships; install ddservice[engine]")
    return ImageFont.truetype(Path(package.origin).parent / _FONT, size)


def label(name: str, number: int) -> str:
    """The name of a class as it can be drawn, or its number where the font lacks a letter of it.

    Markup is text. Letters that control the direction or the terminal are drawn as a replacement character.

    Args:
        name: of the class.
        number: its label, from 0.

    >>> label("Käse  <b>", 0), label("кошка", 1), label("中文", 2)
    ('Käse <b>', 'кошка', 'class 2')
    """
    shown = "".join(_REPLACEMENT if _controls(letter) else letter for letter in " ".join(name.split()))
    return shown if all(_drawable(letter) for letter in shown) else f"class {number}"


def shortened(text: str, room: float, size: int) -> str:
    """A text that fits: whole, or cut between letters and their marks, with an ellipsis.

    Args:
        text: in one line.
        room: pixels, enough for the ellipsis.
        size: of the font.
    """
    letters = font(size)
    kept = min(len(text), _LONGEST)
    if kept == len(text) and letters.getlength(text) <= room:
        return text
    while kept and (letters.getlength(text[:kept] + "…") > room or unicodedata.combining(text[kept : kept + 1] or " ")):
        kept -= 1
    return text[:kept].rstrip() + "…"


def width(text: str, size: int) -> float:
    """Pixels that the first letters of a text take, as many as are drawn at most."""
    return font(size).getlength(text[:_LONGEST])


def _controls(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs") and letter not in _JOINERS


@cache
def _drawable(letter: str) -> bool:
    # Without these libraries letters would stand in the wrong order, unjoined. FriBiDi is the system's own.
    ordered = features.check_feature("raqm") and features.check_feature("fribidi")
    if unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT and not ordered:
        return False
    letters = font(16)
    return bytes(letters.getmask(letter)) != bytes(letters.getmask(_NO_LETTER))
