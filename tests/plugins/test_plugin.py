"""The plugin file as each of Airflow's processes loads it."""

import os
import subprocess
import sys
from pathlib import Path

from support.stacks.projects import PROJECT

PLUGINS = PROJECT / "plugins"


def run_python(code: str, home: Path) -> str:
    environ = os.environ | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    return done.stdout.strip().splitlines()[-1]


def test_importing_it_adds_next_to_nothing_to_what_airflow_has_loaded(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(PLUGINS)!r}); import airflow.plugins_manager;"
        # Airflow's own timetables, which the scheduler, the Dag processor and the API server have loaded.
        "import airflow.timetables.interval, airflow.timetables.trigger; before = set(sys.modules);"
        "import perennial_plugin; print(*sorted(set(sys.modules) - before))"
    )
    assert run_python(code, tmp_path).split() == [
        "airflow.task.priority_strategy",
        "perennial_airflow",
        "perennial_airflow.priority",
        "perennial_airflow.timetables",
        "perennial_plugin",
    ]


def test_airflow_finds_the_plugin_and_executes_no_other_file_of_the_folder(tmp_path):
    folder = tmp_path / "plugins"
    folder.mkdir()
    for path in (*PLUGINS.glob("*.py"), PLUGINS / ".airflowignore"):
        (folder / path.name).write_text(path.read_text())
    (folder / "package").mkdir()
    for trap in (folder / "logging.py", folder / "package" / "logging.py"):
        trap.write_text("raise SystemExit('executed')")
    code = (
        "import logging; from airflow._shared.plugins_manager.plugins_manager import _load_plugins_from_plugin_directory as load;"
        f"plugins, errors = load(plugins_folder={str(folder)!r}); print([plugin.name for plugin in plugins], errors)"
    )
    assert run_python(code, tmp_path) == "['perennial'] {}"


def test_reports_are_in_the_navigation_also_under_a_base_path(tmp_path):
    code = (
        f"import os, sys; sys.path.insert(0, {str(PLUGINS)!r}); os.environ['AIRFLOW__API__BASE_URL'] = 'https://x.example.com/base/';"
        "from perennial_plugin import PerennialPlugin as plugin; view, = plugin.external_views;"
        "print(view['name'], view['destination'], view['href'])"
    )
    assert run_python(code, tmp_path) == "Reports nav /base/perennial/reports/"
