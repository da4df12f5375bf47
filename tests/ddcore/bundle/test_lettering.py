import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ddcore.bundle import lettering

SIZE = 13


def drawn(text: str) -> NDArray[np.uint8]:
    """Ink of a text on black, cut to what is inked."""
    picture = Image.new("L", (400, 40))
    ImageDraw.Draw(picture).text((5, 5), text, fill=255, font=lettering.font(SIZE))
    return np.asarray(picture.crop(picture.getbbox()))


@pytest.mark.parametrize("name", ["Käse", "Ελλάς", "Кошка", "ქართული", "שלום", "مرحبا", "naïve ﬁsh", "<b>&amp;"])
def test_names_of_many_scripts_are_drawn_without_a_box(name: str) -> None:
    shown = lettering.label(name, 7)
    assert shown == name
    box = drawn("\uffff")
    for letter in set(name) - {" "}:
        assert not np.array_equal(drawn(letter), box)


def test_a_name_whose_letters_are_missing_gives_way_to_its_number() -> None:
    assert [lettering.label(name, 3) for name in ("中文", "cat 中", "ไทย")] == ["class 3"] * 3


def test_hebrew_runs_from_right_to_left() -> None:
    first, last = drawn("א").shape[1], drawn("ב").shape[1]
    both = drawn("אב")
    # The first letter stands at the right end, as it is drawn alone.
    assert np.array_equal(crop(both[:, -first:]), drawn("א"))
    assert np.array_equal(crop(both[:, :last]), drawn("ב"))


def crop(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def test_letters_that_control_the_direction_or_the_line_are_shown_as_such() -> None:
    assert lettering.label("a\u202eb\nc\x07", 0) == "a\ufffdb c\ufffd"


@pytest.mark.parametrize("letter", ["x", "ш", "ש", "é"])
def test_three_hundred_letters_are_cut_to_the_room_with_an_ellipsis(letter: str) -> None:
    cut = lettering.shortened(letter * 300, 102, SIZE)
    assert cut.endswith("…")
    assert set(cut[:-1]) == {letter}
    assert 80 < lettering.font(SIZE).getlength(cut) <= 102


def test_a_cut_keeps_a_letter_with_its_marks() -> None:
    assert lettering.shortened("e\u0301" * 40, 60, SIZE)[-2] == "\u0301"
    assert lettering.shortened("short", 60, SIZE) == "short"
