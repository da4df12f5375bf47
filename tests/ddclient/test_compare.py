from __future__ import annotations

import itertools
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ddclient import BadInputError, Client, cli, figure
from ddclient.comparison import Bands, Comparison
from tests.ddclient.conftest import FakeService

JOBS = ["job_" + letter * 26 for letter in "abc"]
Ddctl = Callable[..., tuple[int, str, str]]
Document = dict[str, Any]


def score(mean: float) -> Document:
    return {"mean": mean, "std": 1.0, "networks": 3}


def job(number: int, kind: int, **fields: Any) -> Document:
    facts = {"id": JOBS[number], "status": "succeeded", "dataset": "a $5 set", "method": "dm", "ipc": 1 + kind}
    return {
        **facts,
        "seed": number,
        "kind": kind,
        "minutes": 2.5,
        "bytes": 640,
        "accuracy": score(60 + number),
        **fields,
    }


def kind(label: str, ipc: int, jobs: Sequence[str], mean: float) -> Document:
    spread = {"mean": mean, "std": 0.5, "n": len(jobs), "over": "seeds"}
    return {
        "label": label,
        "made_by": "dm",
        "dataset": "a $5 set",
        "ipc": ipc,
        "job_ids": jobs,
        "accuracy": spread,
        "best_coreset": spread | {"mean": mean - 5},
    }


COMPARISON: Document = {
    "jobs": [
        job(0, 0, teacher_bytes=2048),
        job(1, 0, random=score(50)),
        job(2, 1, accuracy=None, status="running", minutes=None),
    ],
    "kinds": [kind("dm, ipc 1", 1, JOBS[:2], 60.5), kind("dm, ipc 2", 2, JOBS[2:], 70)],
    "differences": [{"path": "ipc", "values": dict(zip(JOBS, (1, 1, 2), strict=True))}],
    "curves": [
        {
            "key": "accuracy/validation",
            "title": "Accuracy",
            "unit": "%",
            "comparable": "same",
            "random": 41.5,
            "best_coreset": 47.0,
        },
        {"key": "cmi", "title": "CMI", "comparable": "different", "note": "they were read by different probes"},
    ],
    "link": "/compare?ids=…",
}


def bands_document(key: str) -> Document:
    columns: Document = {"step_min": [0, 10], "step_max": [0, 10], "n": [2, 1], "mean": [1.0, None], "std": [0.5, None]}
    extremes = {"low": [0.5, None], "high": [1.5, None]}
    band = {"kind": 0, "label": "dm, ipc 1", "job_ids": JOBS[:2], "exact": True, **columns, **extremes}
    return {"key": key, "comparable": "same", "note": None, "bands": [band]}


@pytest.fixture
def answering(service: FakeService) -> FakeService:
    service.on("GET", "/v1/jobs:compare", COMPARISON)
    service.on("GET", "/v1/jobs:compare.csv", httpx.Response(200, text="id,name\r\n"))
    service.on(
        "GET", "/v1/metrics:bands", lambda request: httpx.Response(200, json=bands_document(request.url.params["key"]))
    )
    return service


@pytest.fixture
def ddctl(answering: FakeService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ddctl:
    def connect() -> Client:
        return Client("http://service.test", "dd_key", transport=httpx.MockTransport(answering))

    monkeypatch.setattr("ddclient.commands.compare.Client", connect)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = cli.invoke(("compare", *arguments))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


class TestClient:
    def test_jobs_are_named_once_in_the_query(self, client: Client, answering: FakeService) -> None:
        found = client.compare(JOBS)
        assert [one.label for one in found.kinds] == ["dm, ipc 1", "dm, ipc 2"]
        assert client.bands(JOBS, "loss", max_points=9).bands[0].mean == (1.0, None)
        queries = [dict(request.url.params) for request in answering.requests]
        assert queries == [{"ids": ",".join(JOBS)}, {"ids": ",".join(JOBS), "key": "loss", "max_points": "9"}]

    def test_one_job_as_text_is_a_mistake(self, client: Client) -> None:
        with pytest.raises(BadInputError, match=r"must be a list of jobs, such as \['job_a"):
            client.compare(JOBS[0])


class TestCommand:
    def test_tables(self, ddctl: Ddctl) -> None:
        status, out, err = ddctl(*JOBS)
        assert (status, err) == (0, "")
        lines = [re.split(r" {2,}", line.strip()) for line in out.splitlines()]
        assert ["ipc", "1", "1", "2"] in lines
        assert [JOBS[1], "dm, ipc 1", "1", "succeeded", "61.0 ± 1.0", "50.0 ± 1.0", "–", "2.5", "640"] in lines
        assert [JOBS[0], "dm, ipc 1", "0", "succeeded", "60.0 ± 1.0", "–", "–", "2.5", "640 + 2048"] in lines
        assert [JOBS[2], "dm, ipc 2", "2", "running", "–", "–", "–", "–", "640"] in lines
        assert ["dm, ipc 1", "2", "60.5 ± 0.5 % (2 seeds)", "–", "55.5 ± 0.5 % (2 seeds)"] in lines
        assert "CMI: they were read by different probes" in out

    def test_formats_for_programs(self, ddctl: Ddctl) -> None:
        assert ddctl(*JOBS, "--csv")[1] == "id,name\r\n"
        assert json.loads(ddctl(*JOBS, "--json")[1])["kinds"][1]["ipc"] == 2
        assert ddctl(*JOBS, "--csv", "--json")[0] == 2

    def test_plot(self, ddctl: Ddctl, tmp_path: Path) -> None:
        path = tmp_path / "curves.svg"
        status, _, err = ddctl(*JOBS, "--plot", str(path))
        assert status == 0
        assert "CMI is not drawn: they were read by different probes" in err
        texts = [one.text for one in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]
        wanted = ("dm, ipc 1 (n = 2)", "random real images", "best coreset", "Accuracy at the end", "dm, a $5 set")
        for words in (*wanted, figure.CAPTION):
            assert words in texts
        assert "CMI" not in texts

    def test_a_format_that_is_not_known_is_refused_before_anything_is_asked(
        self, ddctl: Ddctl, answering: FakeService
    ) -> None:
        status, _, err = ddctl(*JOBS, "--plot", "curves.gif")
        assert (status, answering.requests) == (2, [])
        assert "must end in one of .svg, .png, .pdf" in err

    def test_without_matplotlib_the_extra_is_named(self, ddctl: Ddctl, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        status, _, err = ddctl(*JOBS, "--plot", "curves.svg")
        assert status == 2
        assert "pip install 'ddservice[plot]'" in err


class TestFigure:
    def test_equal_data_give_equal_files(self, tmp_path: Path) -> None:
        found, curves = (
            Comparison.model_validate(COMPARISON),
            [Bands.model_validate(bands_document("accuracy/validation"))],
        )
        for name in ("a.svg", "b.svg"):
            figure.draw(found, curves, tmp_path / name)
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()

    def test_lines_and_bands_are_mean_and_deviation(self) -> None:
        from matplotlib.figure import Figure

        axes = Figure().subplots()
        figure._band(axes, Bands.model_validate(bands_document("loss")).bands[0])
        drawn = np.asarray(axes.lines[0].get_xydata())
        assert drawn[0].tolist() == [0.0, 1.0]
        assert np.isnan(drawn[1, 1])
        corners = np.asarray(axes.collections[0].get_paths()[0].vertices).tolist()
        assert [0.0, 0.5] in corners
        assert [0.0, 1.5] in corners

    def test_the_best_coreset_is_a_line_across_and_a_mark_beside_each_score(self) -> None:
        from matplotlib.figure import Figure

        found = Comparison.model_validate(COMPARISON)
        over_steps, prices = Figure().subplots(1, 2)
        figure._curve(found.curves[0], [])(over_steps)
        assert {line.get_label(): np.asarray(line.get_ydata())[0] for line in over_steps.lines} == {
            "random real images": 41.5, "best coreset": 47.0,
        }  # fmt: skip
        figure._scores(found.kinds, *figure.PRICES[0])(prices)
        marks = [np.asarray(line.get_xydata()).tolist() for line in prices.lines if line.get_marker() == "D"]
        assert marks == [[[1.0, 55.5]], [[2.0, 65.0]], []]

    def test_legends_and_the_caption_cover_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from matplotlib.container import ErrorbarContainer
        from matplotlib.figure import Figure

        drawn: list[Figure] = []
        monkeypatch.setattr(Figure, "savefig", lambda found, *_, **__: drawn.append(found))
        kinds = [
            {**kind(f"{name}, ipc {ipc}", ipc, JOBS[:2], 20.0 + ipc), "made_by": name, "minutes": minutes}
            for name, minutes in (("dm", None), ("dm + mim 1× gradient", 2.0), ("mtt", 3.0))
            for ipc in (1, 10, 50)
        ]
        curves = [Bands.model_validate(bands_document("accuracy/validation"))]
        for shown, sent in ((kinds, curves), (kinds, []), ([], curves)):
            figure.draw(Comparison.model_validate({**COMPARISON, "kinds": shown}), sent, tmp_path / "a.svg")
        for one in drawn:
            one.draw_without_rendering()
            legends = [legend.get_window_extent() for legend in one.legends]
            panels = [axes.get_tightbbox() for axes in one.axes if axes.axison]
            assert all(axes.get_legend() is None for axes in one.axes)
            assert not any(legend.overlaps(panel) for legend in legends for panel in panels if panel)
            assert not any(first.overlaps(second) for first, second in itertools.combinations(legends, 2))
            assert all(one.bbox.x0 <= legend.x0 and legend.x1 <= one.bbox.x1 for legend in legends)
        of_images, of_minutes = (
            {
                bars.get_label(): bars.lines[0].get_color()
                for bars in axes.containers
                if isinstance(bars, ErrorbarContainer)
            }
            for axes in drawn[0].axes
            if axes.get_xlabel() in ("Images per class", "Minutes")
        )
        assert of_minutes.items() < of_images.items(), "one legend tells what both panels show"

    def test_nothing_to_plot(self, tmp_path: Path) -> None:
        empty = Comparison.model_validate({**COMPARISON, "kinds": [], "curves": []})
        with pytest.raises(BadInputError, match="nothing to plot"):
            figure.draw(empty, [], tmp_path / "a.svg")
