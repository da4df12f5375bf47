"""Commands that use the engine in this process, without a service; torch is loaded here only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from ddclient import output, submission
from ddclient.bundle import Bundle
from ddclient.commands.jobs import Ipc, Iterations, Method, Preset, Reg, Seed, Set
from ddclient.discovery import home
from ddclient.errors import BadInputError, ClientError, Exit
from ddclient.live import RunView, classes_of, display
from ddclient.output import JsonOption
from ddcore.machine import torch_messages
from ddcore.spec import check_dataset_name, parse
from ddcore.spec.results import Results

NEEDS_ENGINE = "this command needs the engine: pip install 'ddservice[engine]' (missing: {name})"
DataRoot = Annotated[Path | None, typer.Option(help="Folder of named datasets. Default: DD_DATA_ROOT.")]


def run(
    source: Annotated[
        str | None, typer.Argument(metavar="[SPEC.json|DATASET]", help="File with the job, or a dataset.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that receives the bundle's files.")] = Path("out"),
    data_root: DataRoot = None,
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the checkpoints. Default: OUT.run.")] = None,
    method: Method = None,
    ipc: Ipc = None,
    iterations: Iterations = None,
    seed: Seed = None,
    reg: Reg = None,
    preset: Preset = None,
    set_: Set = None,
    as_json: JsonOption = False,
) -> None:
    """Distil in this process, without a service. Ctrl-C saves the state; the same command goes on."""
    is_file = source is not None and (source == "-" or source.endswith((".json", ".toml")))
    spec = parse(
        submission.build(
            dataset=None if is_file else source, spec=Path(source) if is_file and source else None,
            method=method, ipc=ipc, iterations=iterations, seed=seed,
            regularizers=reg or (), preset=preset, settings=set_ or (),
        )
    )  # fmt: skip
    folder = data_folder(data_root)
    check_dataset_name(spec.dataset, tuple(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else ())
    engine = _import("ddcore.engine")
    from ddclient.local import EngineView, run_folder, stop_on_signals
    from ddcore.errors import Interrupted

    checkpoints = run_dir or run_folder(out)
    checkpoints.mkdir(parents=True, exist_ok=True)
    with display() as screen:
        callback = EngineView(RunView(str(out), classes_of({"dataset": spec.dataset})), screen)
        try:
            with stop_on_signals(callback):
                result = engine.run(
                    spec, out, run_dir=checkpoints, data_root=folder, cache=home() / "cache", callback=callback
                )
            callback.finish()
        except Interrupted as stopped:
            output.note(f"{stopped}; the same command goes on from {checkpoints}")
            output.emit({"status": "interrupted", "step": stopped.step, "run_dir": checkpoints}, "", as_json=as_json)
            raise typer.Exit(Exit.RESUMABLE) from None
    if run_dir is None:
        shutil.rmtree(checkpoints)
    document = {"status": "succeeded", "out": str(result.out), "steps": result.steps, "results": result.results}
    text = f"accuracy  {output.accuracy(result.results)}\nbundle    {result.out}"
    output.emit(document, text, as_json=as_json)


def train_on(
    bundle: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with a bundle.", show_default=False)],
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Networks. Default: as many as the bundle reports.")
    ] = None,
    data_root: DataRoot = None,
    as_json: JsonOption = False,
) -> None:
    """Train fresh networks on a bundle by its stored recipe, and compare with the accuracy it reports."""
    if not (bundle / "manifest.json").is_file():
        raise BadInputError(f"{bundle} holds no manifest.json; name a folder that `ddctl get ID -o DIR` filled")
    library = _import("ddcore.bundle")
    from ddclient.local import EngineView

    reported = Results.model_validate(Bundle(bundle).manifest.get("results") or {})
    with display() as screen:
        results: Results = library.train_on(
            bundle,
            repeats=repeats,
            data_root=data_folder(data_root),
            cache=home() / "cache",
            callback=EngineView(RunView(str(bundle)), screen),
        )
    text = f"accuracy  {output.accuracy(results)}\nreported  {output.accuracy(reported)}"
    output.emit({"results": results, "reported": reported}, text, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)
    app.command("train-on")(train_on)


def data_folder(given: Path | None) -> Path:
    """Where named datasets are looked for: the option, else ``DD_DATA_ROOT``, else in the state folder."""
    configured = given or os.environ.get("DD_DATA_ROOT")
    return Path(configured).expanduser() if configured else home() / "data"


def _import(module: str) -> Any:
    import importlib

    torch_messages.hide_useless()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ClientError(NEEDS_ENGINE.format(name=error.name)) from error
