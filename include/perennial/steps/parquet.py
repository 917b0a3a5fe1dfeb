"""Frames as Parquet files whose bytes depend on the rows alone."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


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
