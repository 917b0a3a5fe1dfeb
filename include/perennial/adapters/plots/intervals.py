"""A metric over the intervals of a backfill, as a small PNG file."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.adapters.plots.curves import STYLES
from perennial.adapters.plots.png import FAINT, LINE, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = (7.6, 2.8)
_DOTS_PER_INCH = 130


def draw_intervals(metric: str, lines: Mapping[str, Sequence[tuple[datetime, float | None]]]) -> bytes:
    """Draw a metric over time as a PNG, a line for each of challenger, champion and the others named.

    Parameters
    ----------
    lines
        By label: instants with the metric there, None where it is not known. A label without any value is left out;
        the axis reaches over all instants.
    """
    from matplotlib.dates import date2num
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    for (label, points), style in zip(lines.items(), STYLES.values(), strict=False):
        known = [(float(date2num(at)), value) for at, value in points if value is not None]  # type: ignore[no-untyped-call]
        if known:
            (line,) = axes.plot(*zip(*known, strict=True), label=label, marker="o", markersize=3)
            line.set(**style)
    _reach(axes, [at for points in lines.values() for at, _ in points])
    _dress(axes, metric)
    return to_png(figure)


def _reach(axes: "Axes", instants: Sequence[datetime]) -> None:
    first, last = min(instants), max(instants)
    if first < last:
        axes.set_xlim(first - (last - first) / 40, last + (last - first) / 40)  # type: ignore[arg-type]


def _dress(axes: "Axes", metric: str) -> None:
    axes.xaxis_date()
    axes.set_ylabel(metric, fontsize=8, color=FAINT)
    axes.tick_params(labelsize=7.5, colors=FAINT, length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.grid(axis="y", color="#eaecef", linewidth=0.6)
    if axes.lines:
        axes.legend(fontsize=7.5, frameon=False, loc="best")
