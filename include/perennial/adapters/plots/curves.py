"""Small pictures of a model's curves, as PNG files that fit into a mail."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from perennial.adapters.plots.png import BLUE, FAINT, LINE, ORANGE, style, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]

# Line styles repeat what the colours say.
STYLES: Mapping[str, Mapping[str, object]] = {
    "challenger": {"color": BLUE, "linestyle": "-", "linewidth": 1.8, "zorder": 3},
    "champion": {"color": ORANGE, "linestyle": "--", "linewidth": 1.6, "zorder": 2},
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
_DOTS_PER_INCH = 260


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
        lines = {who: curves[who][kind] for who in STYLES if curves.get(who, {}).get(kind)}
        if lines:
            pictures[kind] = to_png(_draw(kind, lines))
    return pictures


def _draw(kind: str, lines: Mapping[str, Points]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    for who, points in lines.items():
        (line,) = axes.plot(*zip(*points, strict=True), label=who)
        line.set(**STYLES[who], **_MARKS[kind])
    if kind != "precision_recall":
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=0.8, zorder=0)
    _label(axes, kind)
    return figure


def _label(axes: "Axes", kind: str) -> None:
    title, x_label, y_label = _AXES[kind]
    style(axes, title)
    axes.set_xlabel(x_label, fontsize=7, color=FAINT)
    axes.set_ylabel(y_label, fontsize=7, color=FAINT)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    axes.legend(fontsize=6.5, frameon=False, loc=_LEGENDS[kind])
