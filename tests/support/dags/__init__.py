"""Dag files as modules, and the loop of a running stack."""
