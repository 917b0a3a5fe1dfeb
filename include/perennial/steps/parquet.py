"""Frames as Parquet files whose bytes depend on the rows alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def read_keyed(path: Path | str, key: Sequence[str]) -> "pd.DataFrame":
    """Read a file of rows, whole numbers of the key as they are: pandas makes floats of those that have gaps, of which large ones
    are no more what they were.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    gaps = [name for name in key if pa.types.is_integer(table[name].type) and table[name].null_count]
    frame: pd.DataFrame = table.to_pandas()
    for name in gaps:
        frame[name] = table[name].to_pandas(integer_object_nulls=True)
    return frame


def write_frame(frame: "pd.DataFrame", path: Path) -> None:
    """Write a frame without its index. The file appears whole or not at all, and replaces one that was there.

    The same rows, columns and types give the same bytes with the same version of pyarrow: no time, no path and no version
    of pandas is written, and one thread cuts rows into groups of fixed size.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)
    # pandas has several kinds of text, which must not make a difference.
    fields = [field.with_type(pa.large_string()) if pa.types.is_string(field.type) else field for field in table.schema]
    table = table.cast(pa.schema(fields))
    part = path.with_name(f".{path.name}.part")
    try:
        pq.write_table(table, part, compression="zstd", row_group_size=1 << 17, version="2.6")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
