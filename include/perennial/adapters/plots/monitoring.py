"""The pictures of a monitoring mail: what moved, how the model did over time, and how the year goes."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

from perennial.adapters.plots.png import BLUE, FAINT, INK, LINE, ORANGE, style, to_png
from perennial.contracts.pictures import Distribution, SeasonPoint, WindowPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A phone shows a picture 310 points wide: the type is large for the size of the figure.
_INCHES_WIDE = 3.4
_DOTS_PER_INCH = 230
_MOST_COLUMNS = 6
_SHORT_LEVEL, _LONG_LEVEL = 3, 11
_REFERENCE, _CURRENT = "#b9c0c8", BLUE


def draw_distributions(distributions: Sequence[Distribution]) -> bytes | None:
    """Draw the first six, reference against current, two in a row.

    Returns
    -------
    PNG; None where there is nothing to draw.
    """
    shown = [each for each in distributions if each.levels or each.edges][:_MOST_COLUMNS]
    if not shown:
        return None
    n_rows = ceil(len(shown) / 2)
    figure = _figure(0.25 + 1.15 * n_rows)
    cells = figure.subplots(n_rows, 2, squeeze=False).flat
    for axes, distribution in zip(cells, shown, strict=False):
        _draw_distribution(axes, distribution)
    for axes in list(figure.axes)[len(shown) :]:
        axes.remove()
    _name_windows(figure)
    return to_png(figure)


def draw_history(points: Sequence[WindowPoint], *, label: str) -> bytes | None:
    """Draw a metric over the windows: as measured, as estimated where no labels came, and as the holdout let expect.

    Parameters
    ----------
    points
        Oldest first.
    label
        Name of the metric.

    Returns
    -------
    PNG; None where no window has a figure.
    """
    if all(each.value is None and each.estimate is None for each in points):
        return None
    figure = _figure(2.0)
    axes = figure.subplots()
    _draw_alarms(axes, points)
    _draw_champions(axes, points)
    _draw_holdout(axes, points)
    _draw_figures(axes, points)
    style(axes, label)
    _date_axis(axes, points)
    _legend_below(figure, axes)
    return to_png(figure)


def draw_season(points: Sequence[SeasonPoint], *, lag: timedelta) -> bytes | None:
    """Draw the share of positives of the latest `lag` of time, over the same time one `lag` earlier where that is known.

    Parameters
    ----------
    points
        Oldest first.

    Returns
    -------
    PNG; None where no window of the latest `lag` has a share.
    """
    if not points:
        return None
    turn = points[-1].start - lag
    now, before = ([each for each in points if (each.start > turn) == is_now] for is_now in (True, False))
    if all(each.predicted is None and each.observed is None for each in now):
        return None
    figure = _figure(1.8)
    axes = figure.subplots()
    earlier = [(_middle(each) + lag, _first(each.observed, each.predicted)) for each in before if each.end + lag > now[0].start]
    _line(axes, earlier, label="a season before", color="#8a8f98", linestyle=":", marker="s", markersize=2.5)
    _line(
        axes,
        [(_middle(each), each.observed) for each in now],
        label="came true",
        color=ORANGE,
        linestyle="--",
        marker="D",
        markersize=3,
    )
    _line(axes, [(_middle(each), each.predicted) for each in now], label="predicted", color=BLUE, marker="o", markersize=3.5)
    style(axes, "Share of positives")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    _date_axis(axes, now)
    _legend_below(figure, axes)
    return to_png(figure)


def _figure(height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(_INCHES_WIDE, height), dpi=_DOTS_PER_INCH, layout="constrained")


def _draw_distribution(axes: "Axes", shown: Distribution) -> None:
    if shown.edges:
        axes.stairs(shown.reference, shown.edges, fill=True, color=_REFERENCE)
        axes.stairs(shown.current, shown.edges, linewidth=1.2, color=_CURRENT)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=4)
    elif all(len(level) <= _SHORT_LEVEL for level in shown.levels):
        places = range(len(shown.levels))
        axes.bar([at - 0.2 for at in places], shown.reference, 0.4, color=_REFERENCE)
        axes.bar([at + 0.2 for at in places], shown.current, 0.4, color=_CURRENT)
        axes.set_xticks(list(places), _plain(shown.levels))
        axes.set_yticks([])
    else:
        places = range(len(shown.levels), 0, -1)
        axes.barh([at + 0.2 for at in places], shown.reference, 0.4, color=_REFERENCE)
        axes.barh([at - 0.2 for at in places], shown.current, 0.4, color=_CURRENT)
        axes.set_yticks(list(places), _plain(shown.levels))
        axes.set_xticks([])
    style(axes, _plain([_cut(shown.subject or "prediction", 22)])[0])
    axes.title.set_fontsize(7)
    axes.tick_params(labelsize=5.5 if len(shown.levels) > 6 else 6)


def _plain(texts: Sequence[str]) -> list[str]:
    """Matplotlib would take what stands between two dollar signs for mathematics."""
    return [_cut(text, _LONG_LEVEL * 2).replace("$", r"\$") for text in texts]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _name_windows(figure: "Figure") -> None:
    from matplotlib.patches import Patch

    handles = [Patch(label="reference", color=_REFERENCE), Patch(label="current", color=_CURRENT)]
    figure.legend(handles=handles, loc="outside upper left", ncols=2, fontsize=7, frameon=False, labelcolor=FAINT)


def _draw_champions(axes: "Axes", points: Sequence[WindowPoint]) -> None:
    """A line where another version took over."""
    for before, after in pairwise(each for each in points if each.model_version is not None):
        if before.model_version != after.model_version:
            at = before.end + (after.start - before.end) / 2
            axes.axvline(at, color="#8a8f98", linewidth=0.9, linestyle=":", zorder=0)  # type: ignore[arg-type]
            place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "xytext": (2, -6), "textcoords": "offset points"}
            axes.annotate(f"v{after.model_version}", (at, 1), fontsize=6.5, color=FAINT, **place)


def _draw_holdout(axes: "Axes", points: Sequence[WindowPoint]) -> None:
    label: str | None = "holdout"
    for each in points:
        if each.holdout is not None:
            axes.hlines(each.holdout, each.start, each.end, color="#8a8f98", linewidth=1.1, zorder=1, label=label)  # type: ignore[arg-type]
            label = None


def _draw_alarms(axes: "Axes", points: Sequence[WindowPoint]) -> None:
    label: str | None = "alarm"
    for each in points:
        if each.is_alarm:
            axes.axvspan(each.start, each.end, color="#fbe3d3", linewidth=0, zorder=0, label=label)  # type: ignore[arg-type]
            axes.hlines(0, each.start, each.end, transform=axes.get_xaxis_transform(), color=ORANGE, linewidth=5)  # type: ignore[arg-type]
            label = None


def _draw_figures(axes: "Axes", points: Sequence[WindowPoint]) -> None:
    looks = {"color": BLUE, "marker": "o", "markersize": 4, "zorder": 3}
    measured = [each for each in points if each.value is not None]
    _line(axes, [(_middle(each), each.value) for each in measured], label="measured", **looks)
    for each in measured:
        if each.low is not None and each.high is not None:
            axes.vlines(_middle(each), each.low, each.high, color=BLUE, linewidth=1.1, zorder=2)  # type: ignore[arg-type]
    estimated = [(_middle(each), each.estimate) for each in points]
    _line(axes, estimated, label="estimated", linestyle="", markerfacecolor="white", **looks)


def _line(axes: "Axes", points: Sequence[tuple[datetime, float | None]], **looks: Any) -> None:
    """A line through what is known; nothing where nothing is."""
    if known := [(at, value) for at, value in points if value is not None]:
        axes.plot(*zip(*known, strict=True), linewidth=1.3, **looks)


def _date_axis(axes: "Axes", points: Sequence[WindowPoint | SeasonPoint]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=2, maxticks=6, tz="UTC")  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))  # type: ignore[no-untyped-call]
    axes.xaxis.get_offset_text().set(fontsize=6.5, color=FAINT)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlim(min(each.start for each in points), max(each.end for each in points))  # type: ignore[arg-type]


def _legend_below(figure: "Figure", axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=4, fontsize=6.5, frameon=False, labelcolor=INK, handlelength=1.6
    )


def _middle(each: WindowPoint | SeasonPoint) -> datetime:
    return each.start + (each.end - each.start) / 2


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
