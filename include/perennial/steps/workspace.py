"""The scratch folder of one Dag run. It may be deleted once the run has ended."""

import re
from hashlib import sha256
from pathlib import Path

from perennial.config.settings import Settings
from perennial.contracts import Run
from perennial.contracts.monitoring import Window

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 120


def run_folder(settings: Settings, run: Run | Window) -> Path:
    """Folder of one run of one model; it exists on return. The same run always gets the same folder."""
    folder = settings.paths.runs / run.model / safe_name(run.dag_run_id)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def safe_name(dag_run_id: str) -> str:
    """Name that any file system takes; different ids get different names.

    Examples
    --------
    >>> safe_name("manual__2013-04-01")
    'manual__2013-04-01'
    >>> safe_name("a/b")
    'a_b-c14cddc0'
    """
    safe = _UNSAFE.sub("_", dag_run_id)[:_LONGEST].lstrip(".")
    return safe if safe and safe == dag_run_id else f"{safe}-{sha256(dag_run_id.encode()).hexdigest()[:8]}"
