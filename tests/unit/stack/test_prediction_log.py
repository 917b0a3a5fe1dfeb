"""What the prediction log says of its health."""

import json
import time

import pytest

from perennial.adapters.journal import Journal, list_segments
from perennial.config.settings import Settings
from perennial.stack import prediction_log
from perennial.steps.ship_predictions import Shipped


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings.load({"PERENNIAL_VAR": str(tmp_path)})


def beat(settings: Settings, *, age_seconds: float = 0.0, waits_seconds: float = 0.0) -> None:
    settings.paths.predictions.mkdir()
    content = {"at": time.time() - age_seconds, "waits_seconds": waits_seconds, "reason": "why", "waiting_bytes": 3 * 1024**2}
    (settings.paths.predictions / "heartbeat.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        ({}, ""),
        ({"age_seconds": 5.0}, ""),
        ({"age_seconds": 40.0}, "no sign of life for 40 s"),
        ({"waits_seconds": 20.0}, ""),
        ({"waits_seconds": 50.0}, "for 50 s predictions wait on disk (3.0 MB): why"),
    ],
)
def test_a_short_wait_is_healthy_and_a_long_one_or_silence_is_not(settings, times, fault):
    beat(settings, **times)
    assert prediction_log.check(settings, 100.0) == fault


def test_an_earlier_process_does_not_speak_for_this_one(settings):
    beat(settings)
    prediction_log.prepare(settings)
    assert prediction_log.check(settings, 100.0) == "no sign of life yet"
    prediction_log.prepare(settings)


def test_a_sign_of_life_cut_by_a_power_cut_is_none(settings):
    beat(settings)
    (settings.paths.predictions / "heartbeat.json").write_text("")
    assert prediction_log.check(settings, 100.0) == "no sign of life yet"


def test_a_disk_that_refuses_the_sign_of_life_does_not_end_the_service(settings):
    """As a full disk does: the service fails, wants to say so, and cannot."""
    settings.paths.predictions.write_text("where the folder should be")
    progress = prediction_log.Progress(settings)
    progress.fail(OSError(28, "No space left on device"))
    progress.add(Shipped())
    assert prediction_log.check(settings, 100.0) == "no sign of life yet"


def test_the_sign_of_life_is_its_owners_only(settings):
    prediction_log.Progress(settings).fail(OSError(28, "No space left on device"))
    assert settings.paths.predictions.stat().st_mode & 0o777 == 0o700
    assert json.loads((settings.paths.predictions / "heartbeat.json").read_text())["reason"].endswith("No space left on device")


def test_segments_that_go_while_they_are_counted_count_nothing(settings, monkeypatch):
    folder = settings.paths.predictions / "p"
    Journal(folder, max_bytes=1000).append(b"x\n")
    (segment,) = list_segments(folder.parent)
    monkeypatch.setattr(prediction_log.journal, "list_segments", lambda _: [segment, folder / "gone"])
    prediction_log.Progress(settings).fail(OSError("why"))
    assert json.loads((settings.paths.predictions / "heartbeat.json").read_text())["waiting_bytes"] == 2
