"""Numbers as people read them."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes in the largest fitting binary unit.

    >>> [size(n) for n in (0, 1023, 1536, 5 << 30)]
    ['0 B', '1023 B', '1.5 KiB', '5.0 GiB']
    """
    if count < 1024:
        return f"{count:.0f} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def memory(count: float) -> str:
    """Bytes of memory in decimal units, as those who sell it count.

    >>> memory(950_000_000), memory(44_700_000_000)
    ('950 MB', '44.7 GB')
    """
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"
