"""Presets of NCFM against the rows of its paper with and without the sampling network."""

from __future__ import annotations

import pytest

from ddcore.spec import NCFMConfig, all_presets, parse

ROWS = {
    "ncfm-cifar10": {10: 65.6, 50: 74.2},
    "ncfm_network-cifar10": {10: 68.9, 50: 77.4},
    "ncfm-cifar100": {10: 45.9, 50: 53.7},
    "ncfm_network-cifar100": {10: 48.7, 50: 54.4},
}
"""Accuracy by source of the frequencies and dataset: images per class."""
CASES = [(row, ipc, accuracy) for row, by_ipc in ROWS.items() for ipc, accuracy in by_ipc.items()]


@pytest.mark.parametrize(("row", "ipc", "accuracy"), CASES)
def test_every_row_has_its_preset_which_names_the_figure_of_the_other(row: str, ipc: int, accuracy: float) -> None:
    preset = all_presets()[f"paper/{row}-ipc{ipc}"]
    assert preset.published is not None
    assert preset.published.accuracy == accuracy
    source, _, dataset = row.partition("-")
    other = {"ncfm": "ncfm_network", "ncfm_network": "ncfm"}[source]
    assert str(ROWS[f"{other}-{dataset}"][ipc]) in preset.citation
    assert ("users of its code report about 72" in preset.citation) == ((dataset, ipc) == ("cifar10", 50))


@pytest.mark.parametrize(("row", "ipc", "accuracy"), CASES)
def test_presets_hold_the_released_setting(row: str, ipc: int, accuracy: float) -> None:
    spec = parse({"preset": f"paper/{row}-ipc{ipc}"})
    method = spec.method
    assert isinstance(method, NCFMConfig)
    network = row.startswith("ncfm_network")
    assert (method.frequency_sampler, method.frequencies) == (("network", 256) if network else ("gaussian", 4096))
    assert (method.iterations, method.batch_real, method.pairs.count, method.pairs.epochs) == (20_000, 1024, 20, 60)
    by_sgd = row.endswith("cifar100") and ipc == 10
    assert (method.optimizer, method.lr_img) == (("sgd", 0.01) if by_sgd else ("adamw", 0.001))
    assert method.patience == (20_000 if network else 500)
    assert (spec.decoder.views, spec.augmentation) == (4, "color_crop_cutout")
    assert (spec.evaluation.protocol, spec.evaluation.optimizer, spec.evaluation.epochs) == ("ncfm", "adamw", 2000)
