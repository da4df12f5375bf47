import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddcore.bundle.card import card
from ddcore.spec import parse


def header(text: str) -> dict[str, Any]:
    fields: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return fields


def test_header_names_files_features_and_classes(distilled: Callable[..., Any]) -> None:
    awkward = (
        "yes",
        "a: b",
        'say "no"',
        "#1",
        "été",
        "\U0001f431 cat",
        "שלום",
        "two\nlines",
        "\x7f\x85\u2028\xa0",
        "\\",
    )
    fields = header(card(distilled(classes=awkward)))
    assert fields["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}]
    image, label = fields["dataset_info"]["features"]
    assert image == {"name": "image", "dtype": "image"}
    assert label["dtype"]["class_label"]["names"] == {str(i): name for i, name in enumerate(awkward)}


def test_results_stand_beside_the_control(distilled: Callable[..., Any]) -> None:
    text = card(distilled())
    assert "| distilled (this set) | 61.25 | 0.50 | 2 |" in text
    assert "| random real images, as many | 40.00 | 1.00 | 2 |" in text
    assert "The set beats random real images: +21.2 ± 1.1 points." in text
    assert "The set takes 1.5 KiB" in card(distilled(results={**distilled().results, "bytes": 1536}))
    teacher = {"network": {"name": "convnet", "norm": "batch"}, "epochs": 40, "accuracy": 93.9, "bytes": 2048}
    protocol = {"name": "rded", "labels": "online"}
    taught = card(distilled(results={**distilled().results, "bytes": 1536, "teacher": teacher, "protocol": protocol}))
    assert "The set takes 1.5 KiB (`distilled.safetensors`), and its teacher 2.0 KiB (`teacher.safetensors`)." in taught
    assert "alone with the labels that a teacher gives every augmented batch for 300 epochs" in taught
    assert "The teacher is a convnet (batch) that was trained on all real images for 40 epochs and reaches 93.90 %" in (
        taught
    )
    others = [{"network": {"name": "lenet"}, "epochs": 4, "accuracy": 61.5}]
    several = {"teacher": {**teacher, "bytes": None, "others": others}, "protocol": {"labels": "stored"}}
    averaged = card(distilled(results={**distilled().results, **several}))
    assert "The labels are the mean of the logits of 2 teachers, for all rows:\n\n- a convnet (batch) that" in averaged
    assert "\n- a lenet that was trained on all real images for 4 epochs and reaches 61.50 % itself\n" in averaged
    narrow = {"network": {"name": "convnet", "depth": 3, "width": 32, "norm": "none", "pooling": "max"}, "epochs": 4}
    told = card(distilled(results={**distilled().results, **several, "teacher": {**teacher, "others": [narrow]}}))
    assert "\n- a convnet (width 32, norm none, pooling max) that was trained" in told
    frozen = {**distilled().results, "teacher": teacher, "protocol": {"name": "linear_probe", "trains": "head"}}
    probed = " ".join(card(distilled(results=frozen)).split())
    assert "a fresh linear classifier on the features of a frozen convnet on the set alone for 300 epochs" in probed
    assert "do not give these figures: all rows classify its features." in probed
    assert "6 images (3 x 6 x 5) in 3 classes" in text
    assert "1 % of their number" in text
    assert "MIM" in text


def summary(mean: float, **more: Any) -> dict[str, Any]:
    return {"mean": mean, "std": 0.5, "networks": 2, "values": [mean - 0.5, mean + 0.5], **more}


def test_every_control_protocol_architecture_and_score_is_shown(distilled: Callable[..., Any]) -> None:
    controls = {
        "random": summary(40),
        "herding": summary(45),
        "best_coreset": summary(60.5, rule="k_center"),
        "full": summary(80, epochs=20, images=50_000),
    }
    first = {
        "network": {"name": "convnet", "norm": "batch"},
        "accuracy": summary(60, best=summary(62)),
        "controls": controls,
    }
    second = {**first, "network": {"name": "mlp"}, "accuracy": summary(30)}
    parts = {"improvement_over_random": 3.0, "hard_label_recovery": 20.0}
    results = {
        **first,
        "epochs": 1000,
        "checkpoint": "last",
        "protocol": {"name": "idc", "labels": "soft"},
        "architectures": [first, second],
        "scores": {"label_robust": {"score": 25.5, **parts, "weight": 0.5, "ingredients": {"full_hard": summary(80)}}},
    }
    text = " ".join(card(distilled(results=results)).split())
    for expected in (
        "a fresh convnet (batch) on the set alone with the soft labels of the bundle for 1000 epochs (protocol `idc`)",
        "| random real images, as many | 40.00 |",
        "| real images chosen by herding, as many | 45.00 |",
        "| best coreset (k-center), as many | 60.50 |",
        "The set does not beat the best coreset: −0.5 ± 0.7 points.",
        "| all 50,000 real images, 20 epochs | 80.00 |",
        "gives the distilled set 62.00 with a standard deviation of 0.50",
        "| network | distilled | random | herding | best_coreset | full | |---|---|---|---|---|---| ",
        "| mlp | 30.00 ± 0.50 | 40.00 ± 0.50 | 45.00 ± 0.50 | 60.50 ± 0.50 | 80.00 ± 0.50 |",
        "| label robust | 25.50 | improvement over random 3.00, hard label recovery 20.00 |",
    ):
        assert expected in text


def test_unscored_set_says_so(distilled: Callable[..., Any]) -> None:
    text = card(distilled(results={"accuracy": None, "controls": {"random": None}}))
    assert "Not scored." in text
    assert "this set" not in text


def test_a_coreset_is_not_said_to_be_learned(distilled: Callable[..., Any]) -> None:
    text = card(distilled(spec=parse({"dataset": "garments", "ipc": 2, "method": "random"})))
    assert "random subset" in text
    assert "learned" not in text


def test_command_of_the_card_writes_the_specification(out: Path, distilled: Callable[..., Any]) -> None:
    shell = re.search(r"```sh\n(.*?)```", (out / "README.md").read_text("utf-8"), re.DOTALL)
    assert shell is not None
    command = shell[1].splitlines()[0].replace("python ", f"{sys.executable} ", 1)
    subprocess.run(command, shell=True, cwd=out, check=True)
    assert parse(json.loads((out / "spec.json").read_text("utf-8"))) == distilled().spec


def test_python_of_the_card_runs(out: Path, monkeypatch: pytest.MonkeyPatch, distilled: Callable[..., Any]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 3
    monkeypatch.chdir(out)
    scope: dict[str, Any] = {}
    exec(blocks[0], scope)
    assert (scope["images"] == distilled().images).all()
    assert "train_on" in blocks[1]
    assert "load_dataset" in blocks[2]
