"""Networks that learned the earlier stages: kept, shared, and trained again where they were lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ddcore.pretrained.stage_networks import StageNetworks, StagesSoFar
from ddcore.runtime.context import Run
from tests.ddcore.recorder import Recorder
from tests.ddcore.staging import Make


class TestStageNetworks:
    def pool(self, run: Run, count: int = 2, before: StageNetworks | None = None, lr: float = 0.05) -> StageNetworks:
        generator = torch.Generator().manual_seed(1)
        images, labels = torch.randn((6, 3, 8, 8), generator=generator), torch.tensor([0, 0, 1, 1, 2, 2])
        return StageNetworks(count, StagesSoFar(images, labels, lr), 4, run, before)

    def test_they_are_kept_and_shared(self, make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run = make_run()
        run.cache = tmp_path
        networks = self.pool(run)
        networks.prepare()
        monkeypatch.setattr("ddcore.training.trainer.train", lambda *_, **__: pytest.fail("trained again"))
        again = self.pool(run)
        again.prepare()
        assert all(torch.equal(again[1][name], value) for name, value in networks[1].items())
        with pytest.raises(IndexError, match="no network 2 in a pool of 2"):
            networks[2]

    def test_a_network_that_was_lost_is_trained_again(self, make_run: Make, tmp_path: Path) -> None:
        """Network i of a stage needs network i of the stage before, and no other."""
        run = make_run()
        run.cache = tmp_path / "a"
        later = self.pool(run, before=self.pool(run))
        later.prepare()
        other = make_run()
        last = self.pool(other, before=self.pool(other))[1]
        assert all(torch.equal(later[1][name], value) for name, value in last.items())

    def test_whatever_changes_the_weights_changes_the_hash(self, make_run: Make) -> None:
        run = make_run()
        first = self.pool(run)
        assert len({p.digest() for p in (first, self.pool(run, lr=0.06), self.pool(run, before=first))}) == 3
        assert self.pool(run, count=9).digest() == first.digest()

    def test_equal_pixels_normalised_otherwise_share_none(self, make_run: Make) -> None:
        run = make_run()
        other = make_run(replace(run.dataset, mean=(0.1, 0.2, 0.3)))
        assert self.pool(run).digest() != self.pool(other).digest()

    def test_progress_counts_epochs(self, make_run: Make) -> None:
        run, seen = make_run(), []

        class Heard(Recorder):
            def on_progress(self, done: int, total: int) -> None:
                seen.append((done, total))

        run.callback = heard = Heard()
        self.pool(run).prepare()
        assert heard.phases == ["pretraining"]
        assert [done for done, _ in seen] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        assert {total for _, total in seen} == {10}
