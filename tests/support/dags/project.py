"""A project with the models and the Dag that tests of Dags run: all of one stack, so that one is started for all of them."""

from pathlib import Path

import yaml

from support.dags.loop import MODEL
from support.monitoring.monitored_models import parcels_values
from support.stacks.git_projects import commit, copy_project
from support.stacks.projects import PROJECT

# The example as it is shipped, but for this: all candidates go their way, and are trained in seconds.
BUDGET = {"trials": 2, "seconds": 20, "rows": 12000, "folds": 2}
QUICK = {"shadow": None, "canary": None, "drain_seconds": 0.1}
# The example once more, with two candidates and a release without stages.
BACKFILLED = "backfilled"
_SMALL = {
    "budget": BUDGET,
    "candidates": {
        "baseline": {"algorithm": "prior"},
        "logistic": {"algorithm": "logistic_regression", "search": {"C": {"low": 0.01, "high": 1.0, "log": True}}},
    },
    "gates": {"floors": {"roc_auc": 0.5}},
    "release": QUICK,
}
_ASKED = {**QUICK, "approval": "required"}
# Models whose versions the tests register themselves, one for each kind of approval.
RELEASED = {
    "asked": {**_ASKED, "approval_policy": {"within": "1 hour"}},
    "late_no": {**_ASKED, "approval_policy": {"within": "3 seconds", "otherwise": "reject"}},
    "late_yes": {**_ASKED, "approval_policy": {"within": "3 seconds", "otherwise": "approve"}},
    "back": QUICK,
    "spare": QUICK,
}
MONITORED = tuple(f"parcels{number}" for number in range(1, 5))
# Of these, the one whose accepted candidate is fitted again.
REFITTED = MONITORED[0]
_SUITE = {
    "name": "parcels",
    "expectations": [
        {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}, "meta": {"why": "It is the key"}}
    ],
}
_PROBE = """
import os
import sys

from airflow.sdk import dag, task


@task(pool="training")
def probe():
    loaded = [name for name in ("pandas", "sklearn", "mlflow", "great_expectations") if name in sys.modules]
    return " ".join([*loaded, os.environ["OMP_NUM_THREADS"]])


@dag(schedule=None)
def probe_dag():
    probe()


probe_dag()
"""


def make_dags_project(folder: Path) -> Path:
    """Fill `folder` with the project, a git repository of its own: what is trained there can be built again. Returns it."""
    example = yaml.safe_load((PROJECT / "include" / "models" / f"{MODEL}.yaml").read_text())
    specs = {MODEL: {**example, "budget": BUDGET}, BACKFILLED: {**example, **_SMALL, "model": BACKFILLED}}
    specs |= {model: {**example, "model": model, "release": release} for model, release in RELEASED.items()}
    specs |= {model: parcels_values(model) for model in MONITORED}
    specs[REFITTED]["training"] |= {"refit": True}
    copy_project(folder, specs=specs)
    (folder / "include" / "expectations" / "parcels.yaml").write_text(yaml.safe_dump(_SUITE))
    (folder / "dags" / "probe.py").write_text(_PROBE)
    commit(folder)
    return folder
