"""The picture of a replay: a panel for each metric, a line for each model, month by month."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Mapping[str, Sequence[float | None]]

# Colours that the colour-blind tell apart (Okabe and Ito 2008); line styles and marks repeat what they say.
_STYLES: Mapping[str, Mapping[str, object]] = {
    "live": {"color": "#0072b2", "linestyle": "-", "linewidth": 2.2, "marker": "o", "zorder": 3},
    "frozen": {"color": "#d55e00", "linestyle": "--", "linewidth": 1.8, "marker": "s", "zorder": 2},
    "retrained": {"color": "#8a8f98", "linestyle": ":", "linewidth": 1.8, "marker": "^", "zorder": 1},
}
_NAMES = {"live": "live champion", "frozen": "first champion, frozen", "retrained": "retrained at every step"}
_PANEL_INCHES = (7.6, 2.7)
_DOTS_PER_INCH = 160


def draw_replay(months: Sequence[str], panels: Mapping[str, Lines], *, promoted: Sequence[str]) -> bytes:
    """Draw the figures of a replay.

    Parameters
    ----------
    months
        Their names, in order.
    panels
        By title: one value a month for each of `live`, `frozen` and `retrained`; None leaves a gap.
    promoted
        Per month the versions that became champion at the end of one of its steps, in words; empty for none.

    Returns
    -------
    A PNG.
    """
    from matplotlib.figure import Figure

    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width, height * len(panels)), dpi=_DOTS_PER_INCH, layout="constrained")
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
    for (axes,), (title, lines) in zip(rows, panels.items(), strict=True):
        _draw_lines(axes, title, lines)
        _mark_promotions(axes, promoted)
    bottom = rows[-1][0]
    bottom.set_xticks(range(len(months)), months)
    handles, names = rows[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=8, frameon=False)
    png = BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _draw_lines(axes: "Axes", title: str, lines: Lines) -> None:
    for who in [who for who in _STYLES if who in lines]:
        values = [float("nan") if value is None else value for value in lines[who]]
        (line,) = axes.plot(range(len(values)), values, label=_NAMES[who])
        line.set(**_STYLES[who], markersize=5)
    axes.set_title(title, fontsize=9, fontweight="bold", loc="left", color="#1f2328")
    axes.tick_params(labelsize=8, colors="#57606a", length=2)
    axes.grid(axis="y", color="#e3e6ea", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#d0d4da")


def _mark_promotions(axes: "Axes", promoted: Sequence[str]) -> None:
    """A line where the next month was begun with another champion."""
    for number, words in enumerate(promoted):
        if words:
            axes.axvline(number + 0.5, color="#0072b2", linewidth=0.7, alpha=0.5, zorder=0)
            axes.annotate(
                words, (number + 0.5, 0), xytext=(3, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                fontsize=7, color="#0072b2",
            )  # fmt: skip
