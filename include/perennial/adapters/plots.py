"""Small pictures of a model's curves, as PNG files that fit into a mail."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]

# Colours that the colour-blind tell apart (Okabe and Ito 2008); line styles repeat what they say.
_STYLES: Mapping[str, Mapping[str, object]] = {
    "challenger": {"color": "#0072b2", "linestyle": "-", "linewidth": 1.8, "zorder": 3},
    "champion": {"color": "#d55e00", "linestyle": "--", "linewidth": 1.6, "zorder": 2},
    "baseline": {"color": "#8a8f98", "linestyle": ":", "linewidth": 1.4, "zorder": 1},
}
_MARKS: Mapping[str, Mapping[str, object]] = {
    "roc": {},
    # Between two points precision is not on the straight line (Davis and Goadrich 2006): steps, as scikit-learn draws.
    "precision_recall": {"drawstyle": "steps-post"},
    # A model that says the same to everybody is one point here.
    "calibration": {"marker": "o", "markersize": 2.5},
}
_LEGENDS: Mapping[str, Literal["lower right", "upper right", "upper left"]] = {
    "roc": "lower right",
    "precision_recall": "upper right",
    "calibration": "upper left",
}
_AXES = {
    "roc": ("ROC", "False positive rate", "True positive rate"),
    "precision_recall": ("Precision and recall", "Recall", "Precision"),
    "calibration": ("Calibration", "Predicted probability", "Observed share"),
}
_INCHES = (2.2, 2.3)  # three in a row on a desktop
_WIDE_INCHES = (7.6, 2.8)
_DOTS_PER_INCH = 260
_COLOURS = 32


def draw_curves(curves: Mapping[str, Mapping[str, Points]]) -> dict[str, bytes]:
    """Draw one picture per kind of curve.

    Parameters
    ----------
    curves
        By who (challenger, champion, baseline) and kind (roc, precision_recall, calibration): points in 0–1.

    Returns
    -------
    PNG by kind; a kind that nobody has is left out.
    """
    pictures = {}
    for kind in _AXES:
        lines = {who: curves[who][kind] for who in _STYLES if curves.get(who, {}).get(kind)}
        if lines:
            pictures[kind] = _to_png(_draw(kind, lines))
    return pictures


def _draw(kind: str, lines: Mapping[str, Points]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    for who, points in lines.items():
        (line,) = axes.plot(*zip(*points, strict=True), label=who)
        line.set(**_STYLES[who], **_MARKS[kind])
    if kind != "precision_recall":
        axes.plot([0, 1], [0, 1], color="#d0d4da", linewidth=0.8, zorder=0)
    _label(axes, kind)
    return figure


def _label(axes: "Axes", kind: str) -> None:
    title, x_label, y_label = _AXES[kind]
    axes.set_title(title, fontsize=8, fontweight="bold", loc="left", color="#1f2328")
    axes.set_xlabel(x_label, fontsize=7, color="#57606a")
    axes.set_ylabel(y_label, fontsize=7, color="#57606a")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.tick_params(labelsize=6.5, colors="#57606a", length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#d0d4da")
    axes.legend(fontsize=6.5, frameon=False, loc=_LEGENDS[kind])


def draw_intervals(metric: str, lines: Mapping[str, Sequence[tuple[datetime, float | None]]]) -> bytes:
    """Draw a metric over time as a PNG, a line for each of challenger, champion and the others named.

    Parameters
    ----------
    lines
        By label: instants with the metric there, None where it is not known. A label without any value is left out.
    """
    from matplotlib.dates import date2num
    from matplotlib.figure import Figure

    figure = Figure(figsize=_WIDE_INCHES, dpi=_DOTS_PER_INCH / 2, layout="constrained")
    axes = figure.subplots()
    for (label, points), style in zip(lines.items(), _STYLES.values(), strict=False):
        known = [(float(date2num(at)), value) for at, value in points if value is not None]  # type: ignore[no-untyped-call]
        if known:
            (line,) = axes.plot(*zip(*known, strict=True), label=label, marker="o", markersize=3)
            line.set(**style)
    axes.xaxis_date()
    axes.set_ylabel(metric, fontsize=8, color="#57606a")
    axes.tick_params(labelsize=7.5, colors="#57606a", length=2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#d0d4da")
    axes.grid(axis="y", color="#eaecef", linewidth=0.6)
    if axes.lines:
        axes.legend(fontsize=7.5, frameon=False, loc="best")
    return _to_png(figure)


def _to_png(figure: "Figure") -> bytes:
    """A PNG of few colours: a quarter of the size, and nobody sees it."""
    from PIL import Image

    drawn, png = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(_COLOURS).save(png, format="png", optimize=True)
    return png.getvalue()
