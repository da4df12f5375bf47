"""The part of the images that an epoch takes, against the released scheduler."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from ddcore.spec import CurriculumConfig


def released(epoch: int, images: int, initial: float, added_by: int) -> tuple[int, int]:
    """The scheduler of the released code with its published stages at 40 and 60 epochs, which leave out 0.1 and 0.2."""
    if epoch <= added_by:
        share = min(1, 1.0 * initial + (1 - initial) * 1.0 * epoch / added_by)
        return 0, int(share * images)
    if epoch <= 40:
        return 0, images
    return int((0.1 if epoch <= 60 else 0.2) * images), images


@pytest.mark.parametrize("images", [5000, 500, 17])
@pytest.mark.parametrize(("initial", "added_by"), [(0.75, 20), (0.75, 40), (1.0, 20)])
def test_parts_are_those_of_the_released_scheduler(images: int, initial: float, added_by: int) -> None:
    config = CurriculumConfig(initial=initial, added_by=added_by)
    found = [config.part(epoch, images) for epoch in range(100)]
    assert [(part.start, part.stop) for part in found] == [
        released(epoch, images, initial, added_by) for epoch in range(100)
    ]


def test_a_class_is_never_left_without_an_image() -> None:
    config = CurriculumConfig(initial=0.1, added_by=5, first_share=0.99, second_share=0.99)
    assert all(len(config.part(epoch, count)) >= 1 for epoch in range(70) for count in (1, 2, 3))


def test_stages_that_fall_are_refused() -> None:
    with pytest.raises(ValidationError, match="choose epochs that do not fall"):
        CurriculumConfig(added_by=41)
    with pytest.raises(ValidationError, match="choose epochs that do not fall"):
        CurriculumConfig(second_removal=39)
