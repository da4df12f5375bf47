"""Networks learn the stages of a set in turn, as in SeqMatch and PDD, against the framework's own optimiser.

Du, Shi & Zhou, NeurIPS 2023 (arXiv 2311.01570); Chen et al., ICLR 2024 (arXiv 2310.06982).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddcore.evaluation import network_scorer
from ddcore.evaluation.evaluation import Evaluation
from ddcore.nets import build
from ddcore.runtime.context import Run
from ddcore.runtime.randomness import stream_seed
from ddcore.spec import PROTOCOLS, SpecError, parse
from ddcore.synthetic.stages import Stages
from ddcore.training.trainer import train
from tests.ddcore.staging import Make, method_fields


class TestScoring:
    """Networks learn the stages in turn, against the framework's own optimiser."""

    SIZES, RATES, EPOCHS = (2, 1, 1), (0.05, 0.02, 0.08), 4

    def slow(self, run: Run, seed: int, images: Tensor, labels: Tensor, rates: Sequence[float], carry: bool) -> Any:
        network = build(run.spec.network, run.dataset.shape, len(run.dataset.classes))
        network.load_state_dict(run.functional.new(torch.Generator().manual_seed(seed)))
        momentum: dict[Any, Any] = {}
        of_class = images.unflatten(0, (len(run.dataset.classes), 4))
        for end, rate in zip((2, 3, 4), rates, strict=True):
            x = of_class[:, :end].flatten(0, 1)
            y = torch.arange(len(of_class)).repeat_interleave(end)
            optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
            if carry:
                optimizer.state.update(momentum)
            for passed in range(1, self.EPOCHS + 2):
                optimizer.zero_grad()
                F.cross_entropy(network(x), y).backward()
                optimizer.step()
                if passed == self.EPOCHS // 2 + 2 and carry:
                    optimizer.param_groups[0]["lr"] *= 0.1  # as the released code of PDD, which keeps the momentum
                elif passed == self.EPOCHS // 2 + 2:
                    optimizer = torch.optim.SGD(network.parameters(), lr=rate / 10, momentum=0.9, weight_decay=5e-4)
            momentum = dict(optimizer.state)
        assert torch.equal(y, labels)
        return network.state_dict()

    @pytest.mark.parametrize("name", ["seqmatch", "pdd"])
    @pytest.mark.parametrize("lr", [None, 0.04])
    def test_stages_are_learned_in_turn(
        self, make_run: Make, monkeypatch: pytest.MonkeyPatch, name: str, lr: float | None
    ) -> None:
        scoring = {"protocol": name, "repeats": 2, "epochs": self.EPOCHS, "augmentation": "none", "lr": lr}
        fields = {**method_fields(), "name": name, "sizes": self.SIZES}
        run = make_run(
            ipc=4, method=fields, augmentation="none", evaluation={**scoring, "controls": ["random", "full"]}
        )
        generator = torch.Generator().manual_seed(3)
        images, labels = torch.randn((12, 3, 8, 8), generator=generator), torch.arange(3).repeat_interleave(4)
        stages = Stages.of(torch.arange(4).repeat(3), self.SIZES, self.RATES)
        trained: list[dict[str, Tensor]] = []
        sets: list[int] = []

        def watched(functional: Any, params: Any, x: Tensor, y: Tensor, *args: Any, **kwargs: Any) -> Any:
            sets.append(len(x))
            return train(functional, params, x, y, *args, **kwargs)

        def kept(functional: Any, params: Any, *_: Any, **__: Any) -> float:
            trained.append({n: v.clone() for n, v in params.items()})
            return 50.0

        monkeypatch.setattr(network_scorer, "train", watched)
        monkeypatch.setattr(network_scorer, "accuracy", kept)
        results = Evaluation(run).score(images, labels, learning_rate=0.08, stages=stages)
        rates = self.RATES if lr is None else (lr,) * 3
        assert sets[:9] == [6, 9, 12] * 3, "controls are divided alike"
        assert sets[-2:] == [72, 72], "but the full training set is one"
        assert results["protocol"]["stages"] == {
            "sizes": [2, 1, 1], "lr": list(rates), "begin": {"seqmatch": "at_rest", "pdd": "with_momentum"}[name],
        }  # fmt: skip
        for repeat in range(2):
            seed = stream_seed(run.spec.seed, f"evaluation/0/distilled/{repeat}")
            wanted = self.slow(run, seed, images, labels, rates, carry=name == "pdd")
            for key, value in wanted.items():
                torch.testing.assert_close(trained[repeat][key], value, rtol=1e-3, atol=1e-4)
        first = "classifier.weight"
        assert not torch.equal(trained[0][first], trained[1][first]), "every network starts afresh"

    def test_another_protocol_takes_the_union_as_one_set(self, make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        run = make_run(ipc=6, method=method_fields(), evaluation={"protocol": "mtt", "repeats": 1, "epochs": 1})
        sets: list[tuple[int, float]] = []

        def watched(functional: Any, params: Any, x: Tensor, y: Tensor, recipe: Any, *args: Any, **kwargs: Any) -> Any:
            sets.append((len(x), recipe.lr))
            return train(functional, params, x, y, recipe, *args, **kwargs)

        monkeypatch.setattr(network_scorer, "train", watched)
        images, labels = torch.randn(18, 3, 8, 8), torch.arange(3).repeat_interleave(6)
        stages = Stages.of(torch.arange(6).repeat(3), (2, 2, 2), self.RATES)
        results = Evaluation(run).score(images, labels, learning_rate=0.08, stages=stages)
        assert sets == [(18, 0.08), (18, 0.08)]
        assert "stages" not in results["protocol"]

    def test_a_method_of_one_stage_cannot_be_scored_so(self) -> None:
        with pytest.raises(SpecError, match=r"/evaluation/staging: .*'at_rest' .*'seqmatch'.*`mtt` does not learn in"):
            parse({"dataset": "digits", "ipc": 1, "method": "mtt", "evaluation": {"protocol": "seqmatch"}})

    @pytest.mark.parametrize("name", ["seqmatch", "pdd"])
    def test_the_usual_protocol_is_the_method_s_own(self, name: str) -> None:
        job = {"dataset": "digits", "ipc": 4, "method": name}
        usual = parse(job).evaluation
        assert (usual.protocol, usual.staging, usual.lr) == (name, PROTOCOLS[name].fields["staging"], None)
        assert (usual.epochs, usual.repeats) == (300, 3)
        idc = parse({**job, "method": {"name": name, "base": "idc"}})
        assert (idc.evaluation.protocol, idc.evaluation.lr, idc.decoder.name) == (name, 0.01, "mosaic")
        assert idc.augmentation == "color_crop_cutout"
        assert parse({**job, "evaluation": {"protocol": "mtt"}}).evaluation.staging == "together"
