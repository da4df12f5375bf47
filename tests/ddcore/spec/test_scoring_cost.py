"""Images that networks are trained on to score a set; ``test_cost.py`` compares whole jobs with what they do."""

from __future__ import annotations

from ddcore.spec import parse
from ddcore.spec.scoring_cost import ScoringCost
from ddcore.spec.work import DataSizes


def test_images_are_counted_with_every_epoch_of_every_network() -> None:
    evaluation = {"repeats": 2, "epochs": 10, "controls": ["random", "full"], "full_images": 3000}
    job = parse({"dataset": "digits", "ipc": 1, "method": "dm", "decoder": "mosaic", "evaluation": evaluation})
    assert job.decoder.views == 4
    found = ScoringCost(job, DataSizes(shape=(1, 8, 8), counts=(100,) * 10, test=50)).images_trained(0)
    assert found == 2 * (11 * 40 + 11 * 10 + 4 * 1000)
