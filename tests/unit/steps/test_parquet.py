"""Parquet whose bytes depend on the rows alone."""

import pandas as pd
import pyarrow.parquet as pq

from perennial.steps.parquet import write_frame
from support.data.spec_of_rows import small_frame


def test_the_same_rows_give_the_same_bytes(tmp_path):
    frame = small_frame()
    write_frame(frame, tmp_path / "a.parquet")
    # Another index, another kind of text, the same rows.
    write_frame(frame.set_axis(range(1000, 1000 + len(frame))).astype({"carrier": object}), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert pq.read_schema(tmp_path / "a.parquet").metadata is None


def test_another_value_gives_other_bytes(tmp_path):
    write_frame(small_frame(), tmp_path / "a.parquet")
    write_frame(small_frame(stops=3), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() != (tmp_path / "b.parquet").read_bytes()


def test_rows_come_back_as_they_were(tmp_path):
    frame = small_frame()
    write_frame(frame, tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), frame)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
