"""Every Python block of the documentation is typed as strictly as our own code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from mypy import api

from tests.contract.conftest import ROOT

PAGES = ("README.md", *(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs").glob("*.md"))))
BLOCK = re.compile(r"```python\n(.*?)```", re.S)


def test_python_blocks_pass_mypy_in_strict_mode(tmp_path: Path) -> None:
    files = []
    for page in PAGES:
        for number, text in enumerate(BLOCK.findall((ROOT / page).read_text("utf-8"))):
            file = tmp_path / f"{Path(page).stem}_{number}.py"
            file.write_text(text)
            ast.parse(text)
            files.append(str(file))
    assert len(files) >= 3
    out, err, status = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--no-warn-unused-configs", *files])
    assert (status, err) == (0, ""), out
