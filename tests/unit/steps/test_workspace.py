"""The folder of a run: always the same for one run, never shared by two."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from perennial.config.settings import Settings
from perennial.contracts import Run
from perennial.steps.workspace import run_folder, safe_name


def run(dag_run_id: str) -> Run:
    as_of = datetime(2013, 4, 1, tzinfo=UTC)
    return Run(model="flight_delay", dag_id="retrain__flight_delay", dag_run_id=dag_run_id, as_of=as_of, start=as_of)


def test_a_run_keeps_its_folder(tmp_path: Path) -> None:
    settings = Settings.load({"PERENNIAL_VAR": str(tmp_path)})
    folder = run_folder(settings, run("manual__1"))
    assert folder == tmp_path / "runs" / "flight_delay" / "manual__1"
    (folder / "x").touch()
    assert (run_folder(settings, run("manual__1")) / "x").exists()


@pytest.mark.parametrize("hostile", ["../../etc", "a/b", ".", "", "scheduled__2013-04-01T00:00:00+00:00", "x" * 500, "ü"])
def test_any_id_makes_one_plain_name(hostile: str, tmp_path: Path) -> None:
    name = safe_name(hostile)
    assert name not in ("", ".", "..")
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()
    (tmp_path / name).mkdir()


def test_ids_that_look_alike_get_different_names() -> None:
    assert len({safe_name(each) for each in ("a/b", "a_b", "a:b", "a//b")}) == 4
