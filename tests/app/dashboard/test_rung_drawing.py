"""The picture of a study's rungs."""

from __future__ import annotations

import pytest

from app.dashboard.rung_drawing import Course, Level, draw_rungs

LEVELS = [Level(1 / 9, 9), Level(1 / 3, 3), Level(1.0, 1)]
COURSES = [
    Course(0, "dm", "winner", [(0, 80.0, 0.5), (1, 84.0, 0.5), (2, 85.0, 0.5)]),
    Course(1, "idm", "left", [(0, 70.0, None)]),
    Course(2, "mtt", "failed", []),
    Course(7, "dm again", "left", [(0, 80.0, 0.5)]),
]


def test_each_scored_trial_is_a_way_with_a_dot_on_every_rung_it_reached() -> None:
    picture = draw_rungs(COURSES, LEVELS)
    assert picture is not None
    assert [(way.title, len(way.stroke.dots)) for way in picture.ways] == [("idm", 1), ("dm again", 1), ("dm", 3)]
    assert [(mark.text, count) for mark, count in picture.levels] == [
        ("11 %", "9 trials"), ("33 %", "3 trials"), ("100 %", "1 trial"),
    ]  # fmt: skip
    assert picture.fates == [("winner", "the winner"), ("left", "left behind")]
    assert picture.ways[-1].words == "dm: 80.0 %, 84.0 %, 85.0 %; the winner"


def test_a_better_score_stands_higher_and_a_later_rung_farther_right() -> None:
    picture = draw_rungs(COURSES, LEVELS)
    assert picture is not None
    dots = {way.title: way.stroke.dots for way in picture.ways}
    assert dots["dm"][0][1] < dots["idm"][0][1]
    xs = [x for x, _ in dots["dm"]]
    assert xs == sorted(xs)
    marks = [mark.at for mark, _ in picture.levels]
    # The trial stands left of its rung, and never nearer to another one.
    assert all(0 < mark - x < (marks[1] - marks[0]) / 2 for mark, x in zip(marks, xs, strict=True))
    drawing = picture.drawing
    assert all(drawing.left < x < drawing.right for x in (*xs, *marks))


def test_equal_scores_do_not_hide_each_other() -> None:
    same = [Course(index, str(index), "going", [(0, 50.0, 0.0)]) for index in range(7)]
    picture = draw_rungs(same, LEVELS)
    assert picture is not None
    [middle, *_] = [mark.at for mark, _ in picture.levels]
    places = [way.stroke.dots[0][0] for way in picture.ways]
    assert len(set(places)) == 7
    assert sum(places) / 7 == pytest.approx(middle, abs=0.2)


@pytest.mark.parametrize("courses", [[], [Course(0, "dm", "going", [])]])
def test_nothing_is_drawn_before_the_first_score(courses: list[Course]) -> None:
    assert draw_rungs(courses, LEVELS) is None


def test_a_study_of_one_rung_is_drawn_too() -> None:
    picture = draw_rungs([Course(0, "random", "going", [(0, 50.0, 1.0)])], [Level(1.0, 1)])
    assert picture is not None
    [(mark, _)] = picture.levels
    assert picture.drawing.left < mark.at < picture.drawing.right
