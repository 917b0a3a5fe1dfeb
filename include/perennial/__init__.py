"""Perennial keeps models fresh: it retrains, judges, releases and watches them on a schedule and on evidence."""
