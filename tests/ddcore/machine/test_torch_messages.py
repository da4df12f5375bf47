"""PyTorch's remark about CUDA, in a process of its own that finds a compiler of CUDA and no GPU."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ddcore.machine import torch_messages

HIDE = "from ddcore.machine import torch_messages; torch_messages.hide_useless(); "
REMARK = "import torch.utils.cpp_extension"
OTHER = "; torch.utils.cpp_extension.logger.warning('something else')"


def told(program: str, folder: Path) -> str:
    environment = {**os.environ, "CUDA_HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch says it only where there is no CUDA device")
def test_the_remark_is_hidden_and_nothing_else(tmp_path: Path) -> None:
    assert "No CUDA runtime is found" in told(REMARK, tmp_path)
    hidden = told(HIDE + REMARK + OTHER, tmp_path)
    assert "No CUDA runtime is found" not in hidden
    assert "something else" in hidden


def test_hiding_twice_hides_once() -> None:
    logger = logging.getLogger("torch.utils.cpp_extension")
    before = list(logger.filters)
    try:
        torch_messages.hide_useless()
        torch_messages.hide_useless()
        assert len(logger.filters) == len({*before, torch_messages._FILTER})
    finally:
        logger.filters[:] = before
