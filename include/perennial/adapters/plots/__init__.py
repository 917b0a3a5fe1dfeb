"""Matplotlib: small pictures that fit into a mail."""

from perennial.adapters.plots.curves import draw_curves
from perennial.adapters.plots.intervals import draw_intervals
from perennial.adapters.plots.monitoring import draw_distributions, draw_history, draw_season

__all__ = ["draw_curves", "draw_distributions", "draw_history", "draw_intervals", "draw_season"]
