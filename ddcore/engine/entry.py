"""The ways in: run a job, with or without a service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ddcore.engine.loop import Engine
from ddcore.machine.failures import named_failures
from ddcore.runtime.callback import Callback
from ddcore.spec import JobSpec, parse
from ddcore.spec.results import Results
from ddcore.spec.weight_files import completed, folder_of_backbones


@dataclass(frozen=True)
class Result:
    """What a run leaves behind.

    Attributes:
        out: folder with the bundle's files.
        results: accuracy, controls, probe; the ``results`` object of the manifest.
        steps: steps taken.
    """

    out: Path
    results: Results
    steps: int


def distill(dataset: str, out: str | Path, **fields: Any) -> Result:
    """Distil a dataset without a service.

    Args:
        dataset: name of the dataset.
        out: folder that receives the bundle's files.
        **fields: further fields of the job specification, short or full spelling
            (``ipc=10, method="dm", regularizers={"mim": 0.8}``), and ``data_root``, ``cache``, ``backbones``,
            ``parent`` and ``callback`` of :func:`run`.

    Raises:
        SpecError: the specification is wrong; it lists every fault.
        DistillationError: the run failed.
    """
    around = ("data_root", "cache", "backbones", "parent", "callback")
    surroundings = {name: fields.pop(name) for name in around if name in fields}
    spec = parse({"dataset": dataset, **fields})
    with TemporaryDirectory(prefix="ddcore-") as run_dir:
        return run(spec, Path(out), run_dir=Path(run_dir), **surroundings)


def run(
    spec: JobSpec,
    out: Path,
    *,
    run_dir: Path,
    data_root: Path | None = None,
    cache: Path | None = None,
    backbones: Path | None = None,
    parent: Path | None = None,
    callback: Callback | None = None,
    hold_at: int | None = None,
) -> Result:
    """Run a job to its end, from the newest valid checkpoint in ``run_dir`` if there is one.

    Args:
        spec: what to do.
        out: folder that receives the bundle's files.
        run_dir: folder of this run's checkpoints; the same folder resumes the run.
        data_root: folder of named datasets.
        cache: folder shared by runs for decoded datasets, teachers and compiled code.
        backbones: folder of the weights of networks that others trained; default: the environment variable
            ``DD_BACKBONES_DIR``.
        parent: folder of the bundle that the job extends: its images of unchanged classes stay, and only the others are
            distilled.
        callback: told what happens; may ask the run to stop.
        hold_at: stop once so many steps are taken, or all there are, before the images are evaluated. Run again, with
            another number or none, to go on.

    Raises:
        SpecError: the weights that it names are missing, or other ones.
        DataError: the dataset is missing or unfit.
        ConfigurationError: the specification cannot be run on this dataset or machine.
        DivergedError: a loss or gradient became NaN or infinite.
        OutOfMemoryError: device or machine memory ran out.
        CompilerError: a network pass could not be compiled.
        Interrupted: the callback asked for a stop and the state is saved.
        Held: likewise, at ``hold_at``.
    """
    observer = callback or Callback()
    folder = folder_of_backbones(backbones)
    spec = completed(spec, folder)
    with named_failures("lower `method.batch_real`, `ipc` or `network.width`, or use a device with more memory"):
        engine = Engine(
            spec,
            run_dir,
            data_root=data_root,
            cache=cache,
            backbones=folder,
            parent=parent,
            callback=observer,
            hold_at=hold_at,
        )
        return Result(out, engine.run(out), engine.step)
