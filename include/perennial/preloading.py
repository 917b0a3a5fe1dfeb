"""Importing libraries before a process forks others that need them. It imports nothing itself."""

import importlib
import logging

log = logging.getLogger(__name__)


def preload(modules: tuple[str, ...]) -> list[str]:
    """Import modules by name; returns those that cannot be imported, which the processes that need them will say."""
    missing = []
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:
            log.exception("Cannot load %s in advance", module)
            missing.append(module)
    return missing
