"""Commands that use the engine in this process, without a service; torch is loaded here only."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from ddclient import output, submission
from ddclient.bundle import Bundle
from ddclient.commands import ingest_options as own
from ddclient.commands.jobs import Ipc, Iterations, Method, Preset, Reg, Seed, Set
from ddclient.commands.this_machine import DataRoot, backbones_folder, data_folder, import_engine
from ddclient.discovery import home
from ddclient.errors import BadInputError, Exit
from ddclient.live import RunView, classes_of, display
from ddclient.output import JsonOption
from ddcore.spec import DATASETS, check_dataset_name, parse
from ddcore.spec.ingest import DatasetReport, IngestOptions
from ddcore.spec.local_sets import certain_facts_of, names_in, places_of, usual_name
from ddcore.spec.results import Results
from ddcore.spec.weight_files import completed


def run(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[SPEC.json|DATASET|PATH]", help="File with the job, a dataset, or images of your own."),
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
    extends: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with a bundle whose images are kept where a class has not changed.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    size: own.Size = None,
    fit: own.Fit = None,
    test_split: own.TestSplit = None,
    label_column: own.LabelColumn = None,
    skip_unreadable: own.SkipUnreadable = False,
    as_json: JsonOption = False,
) -> None:
    """Distil in this process, without a service. Ctrl-C saves the state; the same command goes on."""
    is_file = source is not None and (source == "-" or source.endswith((".json", ".toml")))
    folder = data_folder(data_root)
    chosen = own.options(
        size=size, fit=fit, test_split=test_split, label_column=label_column, skip_unreadable=skip_unreadable
    )
    report = None if source is None or is_file else _taken_in(source, folder, chosen)
    if report is None and chosen.model_fields_set:
        raise BadInputError(own.without_images(chosen))
    dataset = report.id if report is not None else None if is_file else source
    spec = parse(
        submission.build(
            dataset=dataset, spec=Path(source) if is_file and source else None,
            method=method, ipc=ipc, iterations=iterations, seed=seed,
            regularizers=reg or (), preset=preset, settings=set_ or (),
        ),
        lambda name: report.facts if report is not None and name == report.id else certain_facts_of(name, folder),
    )  # fmt: skip
    if report is None:
        check_dataset_name(spec.dataset, names_in(folder))
    spec = completed(spec, backbones_folder())
    engine = import_engine("ddcore.engine")
    from ddclient.local import EngineView, run_folder, stop_on_signals
    from ddcore.errors import Interrupted

    checkpoints = run_dir or run_folder(out)
    checkpoints.mkdir(parents=True, exist_ok=True)
    with display() as screen:
        classes = classes_of({"dataset": spec.dataset}) if report is None else len(report.classes)
        callback = EngineView(RunView(str(out), classes), screen)
        try:
            with stop_on_signals(callback):
                result = engine.run(
                    spec,
                    out,
                    run_dir=checkpoints,
                    data_root=folder,
                    cache=home() / "cache",
                    backbones=backbones_folder(),
                    parent=extends,
                    callback=callback,
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


def _taken_in(source: str, data_root: Path, chosen: IngestOptions) -> DatasetReport | None:
    """The set that a path of images makes; nothing where the source is the name of a dataset."""
    place = Path(source).expanduser()
    if source in DATASETS or (os.sep not in source and (places_of(source, data_root) or not place.exists())):
        return None
    sources = import_engine("ddcore.data.sources")
    with own.progress() as told:
        report: DatasetReport = sources.own(place, usual_name(place), chosen, home() / "cache", progress=told).report
    output.note(own.text_of(report))
    return report


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
    library = import_engine("ddcore.bundle")
    from ddclient.local import EngineView

    reported = Results.model_validate(Bundle(bundle).manifest.get("results") or {})
    with display() as screen:
        results: Results = library.train_on(
            bundle,
            repeats=repeats,
            data_root=data_folder(data_root),
            cache=home() / "cache",
            backbones=backbones_folder(),
            callback=EngineView(RunView(str(bundle)), screen),
        )
    text = f"accuracy  {output.accuracy(results)}\nreported  {output.accuracy(reported)}"
    output.emit({"results": results, "reported": reported}, text, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)
    app.command("train-on")(train_on)
