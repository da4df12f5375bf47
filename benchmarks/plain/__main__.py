"""``python -m benchmarks.plain [METHOD ...]``: what is not stored yet, then a table of what is."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import gettempdir

from benchmarks import plain
from benchmarks.plain.comparison import MODULES, SEEDS, runs, summary, table
from benchmarks.quality import StudyFile, run_stored


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain", description=plain.__doc__)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"some of: {', '.join(MODULES)}; default: all")
    parser.add_argument("--only", default="", help="run only what has this in its name, such as 'plain seed 0'")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help="from 0 on (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="run what is stored once more")
    parser.add_argument("--table", action="store_true", help="run nothing; print what is stored in Markdown")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.methods if name not in MODULES]
    if unknown:
        parser.error(f"there is no loop of {unknown[0]!r}; there are {', '.join(MODULES)}")
    file = StudyFile("plain", Path(gettempdir()) / "ddservice-plain")
    if not arguments.table:
        chosen = runs(arguments.methods or list(MODULES), arguments.only, arguments.seeds)
        run_stored(chosen, file, summary, again=arguments.again)
    print("\n".join(table(file.jobs())))


if __name__ == "__main__":
    main()
