"""Distil a dataset in this process, without any service, watching it through a callback.

Needs torch. Takes some seconds on a CPU:

    python examples/engine_only.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping

import ddcore
from ddcore.runtime.callback import Callback


class Printer(Callback):
    """Prints the probe's readings as they come."""

    def on_metrics(self, step: int, values: Mapping[str, float]) -> None:
        """One line for each report."""
        print(f"step {step:>3}  MI bound {values['mi_lower_bound']:.3f} nats  CMI {values['cmi']:.4f} nats")


def main() -> None:
    """Run a small job and load what it made."""
    with tempfile.TemporaryDirectory() as folder:
        result = ddcore.distill(
            "digits",
            folder,
            ipc=2,
            method={"name": "dm", "iterations": 60, "batch_real": 32},
            regularizers={"cmi": {"relative": 0.2}},
            network={"name": "convnet", "width": 32},
            metrics={"every": 20},
            evaluation={"repeats": 1, "epochs": 50},
            callback=Printer(),
        )
        images, labels = ddcore.load(folder)
        print(f"{tuple(images.shape)} images of {labels.unique().numel()} classes")
        print(f"accuracy {result.results['accuracy']['mean']:.1f} %")


if __name__ == "__main__":
    main()
