"""Checks of HTML, and the examples of the documentation."""
