"""Text that every database keeps."""

from __future__ import annotations

from pydantic import AfterValidator


def unkept(text: str) -> str | None:
    """What a text holds that no database keeps, in words; ``None`` where it can be kept.

    >>> unkept("dm on digits"), unkept("a" + chr(0))
    (None, 'the character U+0000, which no text can have')
    """
    if "\0" in text:
        return "the character U+0000, which no text can have"
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "half of a surrogate pair, which is no character"
    return None


def _storable(text: str) -> str:
    what = unkept(text)
    if what is not None:
        raise ValueError(f"it holds {what}; leave it out")
    return text


Storable = AfterValidator(_storable)
"""For fields that forms fill as well; bodies of JSON are checked whole, see :mod:`app.core.bodies`."""
