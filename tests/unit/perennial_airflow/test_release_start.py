"""How a release begins: with the spec of then, which may have stopped to release by itself while the run was queued."""

from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import DownstreamTasksSkipped

from perennial.config.settings import Settings
from perennial_airflow import release
from perennial_airflow.assets import challenger_asset
from perennial_airflow.xcom import pack
from support.records.release_records import VERSION
from support.records.report_records import read_spec

SPEC = read_spec()


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch):
    """Begin a run that a challenger's event started, under a spec; returns what its note says, empty where it goes on."""

    def run(*, automatic: bool) -> str:
        notes = [""]
        spec = SPEC.model_copy(update={"release": SPEC.release.model_copy(update={"automatic": automatic})})
        event = SimpleNamespace(extra={"version": pack(VERSION)})
        context = {
            "params": {},
            "triggering_asset_events": {challenger_asset(SPEC.model): [event]},
            "task": SimpleNamespace(get_flat_relative_ids=lambda **_: {"build_bento"}),
            "ti": SimpleNamespace(xcom_push=lambda **_: None),
        }
        monkeypatch.setattr(release, "get_current_context", lambda: context)
        monkeypatch.setattr(release, "begin_run", lambda _: (spec, Settings.load()))
        monkeypatch.setattr(release, "note", notes.append)
        monkeypatch.setattr("perennial.steps.admission.why_not_release", lambda *_, **__: "")
        try:
            assert release.choose_version.function(SPEC.model) == pack(VERSION)
        except DownstreamTasksSkipped as skipped:
            assert skipped.tasks == ["build_bento"]
        return notes[-1]

    return run


def test_a_release_that_was_queued_before_the_spec_stopped_it_waits_for_a_person(begin) -> None:
    assert begin(automatic=True) == ""
    assert begin(automatic=False) == "Not released: spec.release.automatic is false, so a person starts it"
