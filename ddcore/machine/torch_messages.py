"""What PyTorch says on its own that is no use to users."""

from __future__ import annotations

import logging

_LOGGER = "torch.utils.cpp_extension"
_USELESS = "No CUDA runtime is found"


class _Useful(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(_USELESS)


_FILTER = _Useful()


def hide_useless() -> None:
    """Drop the remark about a missing CUDA runtime, which comes where a compiler of CUDA is installed but no GPU is.

    Everything else that PyTorch says is left alone. For programs to call, never for the library.
    """
    logging.getLogger(_LOGGER).addFilter(_FILTER)
