"""Dag files as modules, the loop of a running stack, and kills of its tasks."""
