"""Text that does nothing to the terminal, log or page that shows it."""

from __future__ import annotations

import unicodedata

_KEPT = "\t"
_NAMED = {"\n": "\\n", "\r": "\\r"}
_ACTING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Controls, invisible format characters (which turn the direction of text), half surrogate pairs, line separators."""


def printable(text: str) -> str:
    r"""A line in which characters that act, rather than show, are spelled out.

    >>> printable("red \x1b[31m, back \r, bell \x07, tab\t, Ä 猫")
    'red \\x1b[31m, back \\r, bell \\x07, tab\t, Ä 猫'
    >>> printable("a\u202eb") == "a\\u202eb"
    True
    """
    if text.isprintable():
        return text
    return "".join(_spelled(char) for char in text)


def _spelled(char: str) -> str:
    if char in _KEPT or unicodedata.category(char) not in _ACTING:
        return char
    if char in _NAMED:
        return _NAMED[char]
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
