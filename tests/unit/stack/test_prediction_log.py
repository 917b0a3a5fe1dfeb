"""What the prediction log says of its health."""

import json
import time

import pytest

from perennial.config.settings import Settings
from perennial.stack import prediction_log


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
