from __future__ import annotations

import gzip
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from app.dashboard import pages, rendering, static_files
from app.dashboard.line_drawing import Level, Line, draw
from app.metrics.repository import ingest
from ddcore.spec import parse
from tests.app.conftest import Api
from tests.app.dashboard.conftest import RESULTS, SPEC, report
from tests.app.dashboard.page import Page

AddJob = Callable[..., str]


@pytest.fixture
def jobs(api: Api, add_job: AddJob) -> list[str]:
    """Two seeds of one kind and one of another, scored, with curves."""
    found: list[str] = []
    others: tuple[dict[str, Any], ...] = ({}, {"seed": 4}, {"ipc": 3, "regularizers": {}})
    for number, fields in enumerate(others):
        accuracy = {"mean": 80.0 + number, "std": 0.5, "networks": 2}
        found.append(
            add_job(
                spec=parse({**SPEC, **fields}).model_dump(mode="json"), name=f"<i>{number}</i>", status="succeeded",
                results={**RESULTS, "accuracy": accuracy},
            )
        )  # fmt: skip
        report(api.database, found[-1], range(0, 50, 10))
    return found


def compare(api: Api, jobs: list[str], **query: Any) -> Page:
    answer = api.get("/compare", params={"ids": ",".join(jobs), **query})
    assert answer.status_code == 200, answer.text
    return Page(answer)


class TestPage:
    def test_everything_is_there_without_scripts(self, api: Api, jobs: list[str]) -> None:
        page = compare(api, jobs)
        for words in ("3 jobs compared", "80.5 ± 0.5 % (2 seeds)", "82.0 ± 0.5 % (2 networks)", "regularizers.mim"):
            assert words in page.text
        charts = [svg["aria-label"] for svg in page.all("svg") if svg.get("class") == "line-chart"]
        assert "Loss over steps" in charts
        assert "Accuracy in percent against images per class" in charts
        assert not page.all("i"), "names are text"
        assert {
            "href": f"/v1/jobs:compare.csv?ids={','.join(jobs)}",
            "class": "button end",
            "download": "",
        } in page.all("a")

    def test_the_best_coreset_is_a_mark_beside_each_score(self, api: Api, jobs: list[str]) -> None:
        page = compare(api, jobs)
        marks = [path for path in page.all("path") if path.get("class") == "beside"]
        assert len(marks) == 2, "one for each kind that has one, in the only chart of prices"
        assert "best coreset of as many real images" in page.text

    def test_real_images_are_lines_across_the_accuracy_on_the_way(self, api: Api, jobs: list[str]) -> None:
        readings = {"accuracy/validation": 60.0, "accuracy/random": 40.0, "accuracy/best_coreset": 52.5}
        for job in jobs[:2]:
            with api.database.write() as session:
                ingest(session, job, "default", [(5, 1, name, value) for name, value in readings.items()])
        page = compare(api, jobs[:2])
        chart = next(one for one in page.all("figure") if one.get("data-keys") == "accuracy/validation")
        assert chart["data-limit"] == "40.0|52.5"
        assert chart["data-limit-label"] == "random real images|best coreset"
        assert [path["class"] for path in page.all("path") if "limit" in path["class"]] == ["limit", "limit second"]

    def test_the_table_is_sorted_by_the_address(self, api: Api, jobs: list[str]) -> None:
        for order, expected in (("asc", jobs), ("desc", jobs[::-1])):
            page = compare(api, jobs, sort="accuracy", order=order)
            links = [link["href"] for link in page.all("a") if link["href"] in {f"/jobs/{job}" for job in jobs}]
            assert links[-3:] == [f"/jobs/{job}" for job in expected]
            (heading,) = [one for one in page.all("th") if one.get("aria-sort", "none") != "none"]
            assert heading["aria-sort"] == f"{order}ending"

    def test_readings_of_different_probes_have_a_reason_instead_of_a_chart(self, api: Api, jobs: list[str]) -> None:
        api.force(jobs[0], results={**RESULTS, "probe": {"network": "random"}})
        page = compare(api, jobs)
        assert "Not overlaid: They were read by different kinds of network (random, teacher)" in page.text
        assert [figure["data-keys"] for figure in page.all("figure") if "data-drawn" in figure] == ["loss"]

    def test_jobs_can_be_chosen_where_there_are_none(self, api: Api, jobs: list[str]) -> None:
        page = Page(api.get("/compare"))
        assert {box["value"] for box in page.all("input")} == set(jobs)
        chosen = Page(api.get("/compare", params={"ids": jobs[:2]}))
        assert "2 jobs compared" in chosen.text, "as a form with boxes sends them"

    @pytest.mark.parametrize("ids", ["job_0" + "1" * 25, "nonsense", "TWICE"])
    def test_a_refusal_leads_on(self, api: Api, jobs: list[str], ids: str) -> None:
        answer = api.get("/compare", params={"ids": f"{jobs[0]},{jobs[0]}" if ids == "TWICE" else ids})
        assert answer.status_code in (400, 404)
        assert "Choose other jobs" in Page(answer).text

    def test_strangers_sign_in_and_others_see_nothing(self, api: Api, rival: Api, jobs: list[str]) -> None:
        assert api.acting_as(None).get("/compare", params={"ids": jobs}).status_code == 401
        assert rival.get("/compare", params={"ids": jobs}).status_code == 404
        assert not Page(rival.get("/compare")).all("input")


class TestChartLibrary:
    def test_it_is_sent_once_and_small(self, api: Api) -> None:
        name = f"/static/uplot-{static_files.UPLOT}.js"
        answer = api.acting_as(None).get(name, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (answer.headers["content-encoding"], answer.headers["vary"]) == ("gzip", "Accept-Encoding")
        assert int(answer.headers["content-length"]) < 25_000
        plain = api.get(name, headers={"Accept-Encoding": "identity"})
        assert plain.content == answer.content
        assert plain.headers["etag"] != answer.headers["etag"]
        again = api.get(name, headers={"Accept-Encoding": "gzip", "If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304

    def test_only_pages_with_charts_load_it(self, api: Api, jobs: list[str]) -> None:
        for path, wanted in (("/", False), ("/system", False), (f"/jobs/{jobs[0]}", True), ("/compare", True)):
            sources = [script["src"] for script in Page(api.get(path)).all("script")]
            assert (f"/static/uplot-{static_files.UPLOT}.js" in sources) is wanted, path

    def test_what_scripts_import_is_fetched_with_them(self, api: Api, jobs: list[str]) -> None:
        for path, last in ((f"/jobs/{jobs[0]}", "gallery.js"), (f"/compare?ids={jobs[0]}", "plot_tools.js")):
            links = [one["href"] for one in Page(api.get(path)).all("link") if one["rel"] == "modulepreload"]
            assert {"/static/live.js", "/static/plot_options.js", f"/static/{last}"} <= set(links)
            assert {api.get(link).status_code for link in links} == {200}

    def test_nothing_is_left_to_do_for_who_looks_first(self) -> None:
        pages.warm()
        environment = rendering.templates()
        assert environment.cache is not None
        assert len(environment.cache) == len(environment.list_templates())

    def test_another_release_is_refused(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        (tmp_path / "youplot/vendor").mkdir(parents=True)
        (tmp_path / "youplot/vendor/uplot.iife.min.js").write_bytes(b"var uPlot = evil;")
        carrier = SimpleNamespace(version="1.0.1", locate_file=lambda path: tmp_path / path)
        monkeypatch.setattr(static_files, "distribution", lambda name: carrier)
        with pytest.raises(static_files.ChartLibraryError, match=r"of youplot 1\.0\.1 has the SHA-256"):
            static_files.load()

    def test_what_is_compressed_is_the_file(self) -> None:
        file = static_files.load()["style.css"]
        assert gzip.decompress(file.compressed) == file.content


class TestDrawing:
    def test_values_lie_where_they_belong(self) -> None:
        found = draw(
            [Line("a", [0.0, 5.0, 10.0], [0.0, None, 10.0], [0.0, None, 8.0], [0.0, None, 12.0], 0)],
            [Level(6.0, "random"), Level(9.0, "best")],
        )
        (stroke,) = found.strokes
        assert [x for x, _ in stroke.dots] == [found.left, found.right]
        assert stroke.line.count("M") == 2, "a gap parts the line"
        by_text = {mark.text: mark.at for mark in found.y_marks}
        assert stroke.dots[0][1] == by_text["0"]
        assert stroke.dots[1][1] == by_text["10"]
        assert [level.at for level in found.levels] == [
            pytest.approx(by_text["0"] + (by_text["10"] - by_text["0"]) * share, abs=0.11) for share in (0.6, 0.9)
        ]

    def test_what_values_are_compared_with_stands_beside_them_within_the_drawing(self) -> None:
        (stroke,) = draw([Line("a", [1.0, 2.0, 3.0], [7.0] * 3, [7.0] * 3, [7.0] * 3, 0, [3.0, None, 12.0])]).strokes
        assert [x for x, _ in stroke.beside] == [stroke.dots[0][0], stroke.dots[2][0]]
        below, above = (y for _, y in stroke.beside)
        assert below > stroke.dots[0][1] > above > 0

    def test_one_point_and_equal_values_are_drawn(self) -> None:
        (stroke,) = draw([Line("a", [3.0], [7.0], [7.0], [7.0], 6)]).strokes
        assert (stroke.style, len(stroke.dots)) == ("s2 dash1", 1)
