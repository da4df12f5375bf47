"""Comparisons as the published kind of figure: curves over steps with seeds as bands, accuracy against its price."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ddclient.comparison import Band, Bands, Comparison, Curve, KindOfJob
from ddclient.errors import BadInputError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "png", "pdf")
WIDTH, HEIGHT = 4.2, 3.1
"""Inches of a panel."""
LINE_HEIGHT, LEGEND_COLUMNS = 0.18, 2
"""Inches of a line of a legend, and how many entries stand in it."""
RANDOM, BEST_CORESET = "random real images", "best coreset"
CAPTION = "Curves: mean over seeds; bands: ± one standard deviation (none with one seed)."
Panel = Callable[["Axes"], None]
Place = Literal["outside upper left", "outside lower left"]
Price = Callable[[KindOfJob], float | None]
PRICES: Sequence[tuple[str, Price]] = (
    ("Images per class", lambda kind: kind.ipc),
    ("Minutes", lambda kind: kind.minutes),
    ("Bytes of images", lambda kind: kind.bytes),
)


def check(path: Path) -> None:
    """Refuse what cannot be drawn, before anything is fetched.

    Raises:
        BadInputError: the format is not known, or matplotlib is not installed.
    """
    if path.suffix.lstrip(".").lower() not in FORMATS:
        ways = ", ".join(f".{name}" for name in FORMATS)
        raise BadInputError(f"`--plot` is {path}, but its name must end in one of {ways}")
    if find_spec("matplotlib") is None:
        raise BadInputError("`--plot` needs matplotlib: `pip install 'ddservice[plot]'`")


def draw(comparison: Comparison, curves: Sequence[Bands], path: Path) -> None:
    """Write a figure.

    Args:
        comparison: the jobs.
        curves: those of its curves to be drawn.
        path: a file that ends in one of :data:`FORMATS`.

    Raises:
        BadInputError: there is nothing to draw.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    over_steps, at_the_end = _over_steps(comparison, curves), _at_the_end(comparison)
    panels = [*over_steps, *at_the_end]
    if not panels:
        raise BadInputError("there is nothing to plot: none of the jobs has readings that compare, or a score")
    # Names of datasets are text, never formulas; text in SVG stays text; equal data give equal files.
    with mpl.rc_context(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "text.parse_math": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "ddservice",
        }
    ):
        columns = min(len(panels), 2)
        rows = -(-len(panels) // columns)
        figure = Figure(layout="constrained")
        places = list(figure.subplots(rows, columns, squeeze=False).flat)
        for panel, place in zip(panels, places, strict=False):
            panel(place)
        for place in places[len(panels) :]:
            place.set_axis_off()
        # Outside of the panels: what covers no point in one may still cover the deviation of a point.
        lines = _legend(figure, places[: len(over_steps)], "outside upper left")
        lines += _legend(figure, places[len(over_steps) : len(panels)], "outside lower left", CAPTION)
        figure.set_size_inches(columns * WIDTH, rows * HEIGHT + (1 + lines) * LINE_HEIGHT)
        figure.savefig(path, dpi=200, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _over_steps(comparison: Comparison, curves: Sequence[Bands]) -> list[Panel]:
    by_key = {bands.key: bands for bands in curves if any(band.step_min for band in bands.bands)}
    return [_curve(curve, by_key[curve.key].bands) for curve in comparison.curves if curve.key in by_key]


def _at_the_end(comparison: Comparison) -> list[Panel]:
    scored = [kind for kind in comparison.kinds if kind.accuracy]
    return [_scores(scored, title, price) for title, price in PRICES if _differ(scored, price)]


def _differ(kinds: Sequence[KindOfJob], price: Price) -> bool:
    return len({price(kind) for kind in kinds} - {None}) > 1


def _curve(curve: Curve, bands: Sequence[Band]) -> Panel:
    def draw(axes: Axes) -> None:
        for band in bands:
            _band(axes, band)
        for value, style, label in ((curve.random, "--", RANDOM), (curve.best_coreset, ":", BEST_CORESET)):
            if value is not None:
                axes.axhline(value, color="0.4", linewidth=1, linestyle=style, label=label)
        axes.set_title(curve.title, fontsize=9, loc="left")
        axes.set_xlabel("Step")
        axes.set_ylabel(curve.unit)

    return draw


def _band(axes: Axes, band: Band) -> None:
    steps = [(first + last) / 2 for first, last in zip(band.step_min, band.step_max, strict=True)]
    nan = float("nan")
    mean = [nan if value is None else value for value in band.mean]
    std = [nan if value is None else value for value in band.std]
    color = f"C{band.kind % 10}"
    axes.plot(steps, mean, color=color, linewidth=1.4, label=f"{band.label} (n = {len(band.job_ids)})")
    if len(band.job_ids) > 1:
        low = [middle - half for middle, half in zip(mean, std, strict=True)]
        high = [middle + half for middle, half in zip(mean, std, strict=True)]
        axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)


def _scores(kinds: Sequence[KindOfJob], title: str, price: Price) -> Panel:
    """Accuracy at the end against what it costs, a line for each method with its regularisers, and dataset."""

    def draw(axes: Axes) -> None:
        lines: dict[str, list[tuple[float, float, float]]] = {}
        coresets: dict[str, list[tuple[float, float]]] = {}
        for kind in kinds:
            paid, name = price(kind), _name(kind)
            if kind.accuracy and paid is not None:
                lines.setdefault(name, []).append((paid, kind.accuracy.mean, kind.accuracy.std))
                if kind.best_coreset:
                    coresets.setdefault(name, []).append((paid, kind.best_coreset.mean))
        names = list(dict.fromkeys(map(_name, kinds)))
        for name, points in lines.items():
            x, mean, std = zip(*sorted(points), strict=True)
            color = f"C{names.index(name) % 10}"
            axes.errorbar(x, mean, std, label=name, color=color, marker="o", markersize=3.5, capsize=2, linewidth=1.2)
            for place, score in coresets.get(name, ()):
                axes.plot(place, score, color=color, marker="D", markersize=4.5, fillstyle="none", linestyle="none")
        if coresets:
            axes.plot([], [], color="0.4", marker="D", fillstyle="none", linestyle="none", label=BEST_CORESET)
        axes.set_title("Accuracy at the end", fontsize=9, loc="left")
        axes.set_xlabel(title)
        axes.set_ylabel("%")

    return draw


def _name(kind: KindOfJob) -> str:
    """The line that a kind is on, the same in each panel."""
    return f"{kind.made_by}, {kind.dataset}"


def _legend(figure: Figure, panels: Sequence[Axes], place: Place, caption: str | None = None) -> int:
    """One legend for some panels, outside of all of them, below a caption; how many lines it has."""
    entries: dict[str, Artist] = {}
    for axes in panels:
        entries |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if entries or caption is not None:
        legend = figure.legend(
            entries.values(), entries, loc=place, ncols=LEGEND_COLUMNS, frameon=False, fontsize=8, title=caption,
            title_fontsize=7, alignment="left",
        )  # fmt: skip
        legend.get_title().set_color("0.35")
    return -(-len(entries) // LEGEND_COLUMNS)
