"""Clean: each rule, its counts and its words."""

import logging
from pathlib import Path

import pandas as pd
import pytest

from perennial.contracts import Cleaned
from perennial.contracts.columns import FIRST_INSTANT, LAST_INSTANT
from perennial.errors import ConfigurationError, DataFault
from perennial.steps.clean import clean
from perennial.steps.parquet import read_keyed
from support.data.spec_of_rows import AS_OF, extracted, settings_in, small_frame, small_run, small_spec


def run_clean(frame: pd.DataFrame, folder: Path, **cleaning: object) -> tuple[Cleaned, pd.DataFrame]:
    spec = small_spec(cleaning=cleaning)
    cleaned = clean(spec, small_run(), extracted(frame, folder), settings=settings_in(folder))
    return cleaned, pd.read_parquet(cleaned.path)


def test_sound_rows_stay_as_they_are(tmp_path):
    cleaned, kept = run_clean(small_frame(), tmp_path)
    assert (cleaned.n_rows_in, cleaned.n_rows) == (300, 300)
    assert cleaned.dropped == {"repeats a id": 0, "no is_late": 0}
    pd.testing.assert_frame_equal(kept, small_frame())


def test_of_repeated_keys_the_last_to_arrive_stays(tmp_path):
    frame = small_frame()
    older = frame.head(5).assign(known_at=lambda rows: rows["known_at"] - pd.Timedelta(days=1), stops=9)
    cleaned, kept = run_clean(pd.concat([frame, older]), tmp_path)
    assert cleaned.dropped["repeats a id"] == 5
    assert (kept["stops"] == 2).all()
    kept_all, _ = run_clean(pd.concat([frame, older]), tmp_path, duplicates="keep")
    assert kept_all.n_rows == 305


def test_an_impossible_value_goes_missing_or_takes_its_row_along(tmp_path):
    frame = small_frame(weight=[900.0, -1.0, *[1.5] * 298])
    rule = {"column": "weight", "at_least": 0, "at_most": 500}
    cleaned, kept = run_clean(frame, tmp_path, impossible=[rule | {"action": "null"}])
    assert cleaned.mended == {"weight under 0 or over 500, now missing": 2}
    assert kept["weight"].isna().sum() == 2
    cleaned, kept = run_clean(frame, tmp_path, impossible=[rule])
    assert cleaned.dropped["weight under 0 or over 500"] == 2
    assert len(kept) == 298


def test_a_missing_label_is_dropped_only_when_it_is_overdue(tmp_path):
    late_enough = small_frame()["at"] <= AS_OF - pd.Timedelta(days=1)
    frame = small_frame().assign(is_late=lambda rows: rows["is_late"].mask(rows.index % 7 == 0))
    cleaned, kept = run_clean(frame, tmp_path, unlabelled_means="lost")
    assert cleaned.dropped["no is_late (lost)"] == int((frame["is_late"].isna() & late_enough).sum())
    assert kept["is_late"].isna().sum() == int((frame["is_late"].isna() & ~late_enough).sum()) > 0
    kept_all, _ = run_clean(frame, tmp_path, unlabelled="keep")
    assert kept_all.n_rows == 300


def test_the_log_says_what_was_done(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run_clean(small_frame(is_late=[None, *[0.0] * 299]), tmp_path, unlabelled_means="lost")
    assert "Dropped 1 rows (0.33 %): no is_late (lost)" in caplog.text
    assert "Kept 299 of 300 rows" in caplog.text


def test_a_rule_about_no_column_is_a_wrong_spec(tmp_path):
    with pytest.raises(ConfigurationError, match="does not return 'height'"):
        run_clean(small_frame(), tmp_path, impossible=[{"column": "height", "at_most": 1}])


def test_nothing_left_is_a_fault_of_the_data(tmp_path):
    with pytest.raises(DataFault, match="cleaning left none of 300 rows"):
        run_clean(small_frame(), tmp_path, impossible=[{"column": "stops", "at_most": 1}])


def test_cleaning_again_gives_the_same_file(tmp_path):
    first, _ = run_clean(small_frame(), tmp_path)
    before = Path(first.path).read_bytes()
    again, _ = run_clean(small_frame(), tmp_path)
    assert again == first
    assert Path(again.path).read_bytes() == before


@pytest.mark.parametrize(("column", "at"), [("at", FIRST_INSTANT), ("at", LAST_INSTANT), ("known_at", LAST_INSTANT)])
def test_a_time_without_end_is_a_fault_of_the_data(tmp_path, column, at):
    frame = small_frame()
    frame[column] = frame[column].mask(frame.index == 7, pd.Timestamp(at))
    with pytest.raises(DataFault, match=rf"'{column}' is infinite, .* in 1 rows, such as p0007"):
        run_clean(frame, tmp_path)


def test_what_arrived_at_minus_infinity_or_nobody_knows_when_arrived_first(tmp_path):
    frame = small_frame()
    ever = frame.head(4).assign(known_at=[pd.Timestamp(FIRST_INSTANT)] * 2 + [pd.NaT] * 2, stops=9)
    cleaned, kept = run_clean(pd.concat([frame, ever]), tmp_path)
    assert cleaned.dropped["repeats a id"] == 4
    assert (kept["stops"] == 2).all()


def test_keys_that_floats_cannot_tell_apart_are_kept_apart(tmp_path):
    frame = small_frame(id=pd.Series([None, *range(2**53, 2**53 + 299)], dtype="Int64"))
    cleaned, _ = run_clean(frame, tmp_path)
    assert cleaned.n_rows == 300
    assert read_keyed(cleaned.path, ["id"])["id"].tolist() == [None, *range(2**53, 2**53 + 299)]
