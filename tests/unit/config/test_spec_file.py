"""Spec files: read quickly, refused with file, line, key, what was found and what is allowed."""

import shutil
import time
from pathlib import Path

import pytest

from perennial.config.settings import Settings
from perennial.config.spec_file import load_spec, load_specs, spec_path
from perennial.errors import ConfigurationError

EXAMPLE = (Path(__file__).parent / "spec.yaml").read_text()


def write_spec(folder: Path, *replacements: tuple[str, str], name: str = "flight_delay") -> Path:
    """The example with some text replaced, each of which must be in it."""
    text = EXAMPLE
    for old, new in replacements:
        assert old in text, old
        text = text.replace(old, new)
    path = folder / "include" / "models" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def line_of(path: Path, text: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), start=1) if text in line)


def test_the_example_is_right() -> None:
    spec = load_spec(spec_path(Settings.load({}), "flight_delay"))
    assert (spec.model, spec.label.column) == ("flight_delay", "is_late")


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        (
            "algorithm: lightgbm", "algorithm: ligthgbm", "candidates.lightgbm.algorithm",
            "found 'ligthgbm', allowed: prior, logistic_regression, random_forest, extra_trees, hist_gradient_boosting, lightgbm"
            " (did you mean 'lightgbm'?)",
        ),
        (
            "drain_seconds: 5", "drain_second: 5", "release.drain_second",
            "unknown key, allowed: approval, approval_policy, automatic, canary, drain_seconds, golden_rows, limits, memory_mb,"
            " p99_ms, parity_tolerance, quiet, quiet_at_most, ready_seconds, shadow (did you mean 'drain_seconds'?)",
        ),
        (
            "C: {low: 0.01,", "C: {step: 2, low: 0.01,", "candidates.logistic.search.C.step",
            "unknown key, allowed: high, log, low",
        ),
        ("trials: 8", "trials: eight", "budget.trials", "found 'eight', expected a whole number"),
        ("trials: 8", "trials: '8'", "budget.trials", "found '8', expected a whole number"),
        ("trials: 8", "trials: 0", "budget.trials", "found 0, expected greater than or equal to 1"),
        ("automatic: true", "automatic: maybe", "release.automatic", "found 'maybe', expected true or false"),
        ("seed: 2013", "seed: [1]", "seed", "found [1], expected a whole number"),
        ("delay: 36 hours", "delay: 36 h", "label.delay", "found '36 h', expected a duration such as '90 days'"),
        ("0 6 1 * *", "every day", "schedule.cron", "found 'every day', expected a cron expression of five fields"),
        (
            "0 6 1 * *", "0 6 1 * 8", "schedule.cron",
            "found '0 6 1 * 8', expected a cron expression that has a next time: [0 6 1 * 8] is not acceptable, out of range",
        ),
        ("0 6 1 * *", "0 6 30 2 *", "schedule.cron", "found '0 6 30 2 *', expected a cron expression that has a next time"),
        ("end: 2013-12-31", "end: 2013-14-31", "schedule.end", "found '2013-14-31', expected a date such as 2013-04-01"),
        ("automatic: true", "automatic: yes", "release.automatic", "found 'yes', expected true or false"),
        ("timetable: interval", "timezone: Mars", "schedule.timezone", "found 'Mars', expected the name of a time zone"),
        ("end: 2013-12-31", "end: 2012-12-31", "schedule", "end (2012-12-31) must not lie before start (2013-04-01)"),
        ("entity_key: [flight_id]", "entity_key: []", "source.entity_key", "found [], expected at least 1 of them"),
        ("recipients: [", "recipients: [nobody, ", "recipients.0", "found 'nobody', expected an email address"),
        ("row_count_band: [0.5, 2.0]", "row_count_band: [0.5]", "expectations.row_count_band", "found [0.5], expected 2 values"),
        (
            "row_count_band: [0.5, 2.0]", "row_count_band: [2.0, 0.5]", "expectations.row_count_band",
            "found [2.0, 0.5], expected two factors, the first not over the second",
        ),
        ("at_most: 120,", "at_least: 130, at_most: 120,", "cleaning.impossible.0", "at_least (130) must not be over at_most"),
        ("holdout: 14 days", "holdout: 46 days", "training", "holdout (46 days) must be at most half of the window (90 days)"),
        ("at_most: 120, ", "", "cleaning.impossible.0", "expected at_least, at_most or both"),
        ("window: 90 days", "window: 20 days", "training", "holdout (14 days) must be at most half of the window (20 days)"),
        ("C: {low: 0.01,", "C: {low: 0.0,", "candidates.logistic.search.C", "low (0.0) must be over 0 where log is true"),
        (
            "holdout: 14 days", "holdout: 36 hours", "training.holdout",
            "training.holdout (36 hours) must be longer than label.delay",
        ),
        ("columns: [carrier]", "columns: [carier]", "gates.slices.columns.0", "slice column 'carier' is not a feature"),
        (
            "seed: 2013", "monitoring: {features: {carier: {psi: 0.3}}}", "monitoring.features.carier",
            "'carier' is not a feature",
        ),
        ("table: scores.flight_delay", "table: scores", "scoring.table", "found 'scores', expected schema.table"),
        ("table: scores.flight_delay", "table: scores.Late-1", "scoring.table", "found 'scores.Late-1', expected schema.table"),
        (
            'cron: "0 6 * * *", ', 'cron: "0 6 * * *", timetable: trigger, ', "scoring.schedule",
            "expected timetable: interval; a run that has an instant only",
        ),
        (
            'scoring:\n  schedule: {cron: "0 6 * * *", start: 2013-04-02}\n  table: scores.flight_delay',
            "monitoring: {source: scores}",
            "monitoring.source", "the section `scoring` is missing",
        ),
        ("entity_key: [flight_id]", "entity_key: [features]", "source.entity_key", "key 'features' has the name of a column"),
        ("roc_auc: 0.6", "roc_auc: 60", "gates.floors.roc_auc", "found 60, expected what roc_auc can be: from 0 to 1"),
        ("roc_auc: 0.6", "log_loss: -0.1", "gates.floors.log_loss", "found -0.1, expected what log_loss can be: 0 or more"),
        ("roc_auc: 0.6", "roc_auc: .nan", "gates.floors.roc_auc", "found nan, expected a number"),
        ("at_most: 120, ", "at_most: .inf, ", "cleaning.impossible.0.at_most", "found inf, expected a number"),
        ("delay: 36 hours", "delay: 99999999999 weeks", "label.delay", "found '99999999999 weeks', expected a dur"),
        ("event_time: scheduled_departure_at", "event_time: flight_id", "source", "'flight_id' is named twice among key"),
        ("entity_key: [flight_id]", "entity_key: [perennial_number]", "source.entity_key", "key 'perennial_number' has the name"),
        ("roc_auc: 0.6", "auc: 0.6", "gates.floors.auc", "found 'auc', allowed: roc_auc, average_precision"),
    ],
)  # fmt: skip
def test_a_fault_names_line_key_found_and_allowed(tmp_path: Path, old: str, new: str, key: str, message: str) -> None:
    path = write_spec(tmp_path, (old, new))
    with pytest.raises(ConfigurationError) as caught:
        load_spec(path)
    line = line_of(path, new or "column: wind_speed")
    assert caught.value.what.startswith(f"include/models/flight_delay.yaml:{line}: {key}: {message}")
    assert "\n" not in caught.value.what


def test_a_key_may_be_the_word_on(tmp_path: Path) -> None:
    path = write_spec(tmp_path, ("seed: 2013", "seed: 2013\nretrain: {on: [drift]}"))
    assert list(load_spec(path).retrain.on) == ["drift"]


def test_a_holdout_whose_labels_would_never_be_mature_is_refused(tmp_path: Path) -> None:
    path = write_spec(tmp_path, ("holdout: 14 days", "holdout: 36 hours"))
    with pytest.raises(ConfigurationError, match=r"training\.holdout \(36 hours\) must be longer than label\.delay \(36 hours\)"):
        load_spec(path)


def test_all_faults_come_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    path = write_spec(
        tmp_path, ("metric: roc_auc\n", ""), ("trials: 8", "trails: 8"), ("drain_seconds: 5", "drain_seconds: soon")
    )
    with pytest.raises(ConfigurationError) as caught:
        load_spec(path)
    lines = [line.split(": ", 1) for line in caught.value.what.splitlines()]
    assert [message for _, message in lines] == [
        "missing key 'metric'",
        "budget.trails: unknown key, allowed: folds, rows, seconds, trials (did you mean 'trials'?)",
        "release.drain_seconds: found 'soon', expected a number",
    ]


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = write_spec(tmp_path, ("seed: 2013", "seed: 2013\nseed: 2014"))
    with pytest.raises(ConfigurationError, match=f"seed: given twice, first in line {line_of(path, 'seed: 2013')}"):
        load_spec(path)


def test_a_merged_mapping_may_be_overridden(tmp_path: Path) -> None:
    again = "search: &rate {C: {low: 0.01, high: 10.0, log: true}}\n  again:\n    algorithm: logistic_regression\n    search: "
    path = write_spec(tmp_path, ("search: {C: {low: 0.01, high: 10.0, log: true}}", again + "{<<: *rate, C: {low: 1, high: 2}}"))
    assert load_spec(path).candidates["again"].search["C"].model_dump()["high"] == 2


def test_a_number_may_be_written_without_a_dot(tmp_path: Path) -> None:
    assert load_spec(write_spec(tmp_path, ("1.0e-6", "1e-6"))).release.parity_tolerance == 1e-6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.yaml:1: the file is empty"),
        (b"model: x\n owner: y\n", "x.yaml:2: not YAML: mapping values are not allowed"),
        (b"a: 1\nb: !!python/name:os.system\n", "x.yaml:2: not YAML: could not determine a constructor"),
        (b"- 1\n", r"x.yaml:1: found \[1\], expected a mapping"),
        (b"model: \xff\n", "x.yaml: not UTF-8 text"),
    ],
)
def test_what_is_not_a_spec_at_all_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        load_spec(path)


def test_the_file_is_named_after_the_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"other\.yaml: model: found 'flight_delay', allowed: 'other'"):
        load_spec(write_spec(tmp_path, name="other"))


def test_a_missing_spec_lists_the_others(tmp_path: Path) -> None:
    path = write_spec(tmp_path)
    with pytest.raises(ConfigurationError, match="models: flight_delay"):
        load_spec(path.with_name("flight_dely.yaml"))


def test_one_broken_spec_leaves_the_others_alone(tmp_path: Path) -> None:
    folder = write_spec(tmp_path).parent
    write_spec(tmp_path, ("model: flight_delay", "model: broken"), ("seed: 2013", "sead: 2013"), name="broken")
    (folder / "late.yml").write_text("model: late")
    specs, faults = load_specs(folder)
    assert (list(specs), list(faults)) == (["flight_delay"], ["broken", "late"])
    assert "sead: unknown key" in faults["broken"].what
    assert faults["late"].next_step == "rename it to late.yaml"


def test_a_hundred_specs_take_well_under_a_second(tmp_path: Path) -> None:
    for number in range(100):
        write_spec(tmp_path, ("model: flight_delay", f"model: m{number}"), name=f"m{number}")
    started = time.process_time()
    specs, faults = load_specs(tmp_path / "include" / "models")
    assert (len(specs), faults) == (100, {})
    assert time.process_time() - started < 1
    shutil.rmtree(tmp_path / "include")


@pytest.mark.parametrize("null", ["null", '"null"', "~"])
def test_null_as_an_action_needs_no_quotes(tmp_path: Path, null: str) -> None:
    path = write_spec(tmp_path, ('action: "null"', f"action: {null}"))
    assert load_spec(path).cleaning.impossible[0].action == "null"


def test_a_rule_may_not_make_missing_what_may_not_be_missing(tmp_path: Path) -> None:
    path = write_spec(tmp_path, ("wind_speed: {type: float, nullable: true}", "wind_speed: {type: float}"))
    with pytest.raises(ConfigurationError, match=r"cleaning\.impossible\.0\.action: .*'wind_speed' may not be missing"):
        load_spec(path)
