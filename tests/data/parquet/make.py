"""Writes the Parquet files beside this script: floats with NaN, as pyarrow writes them.

The minimum and maximum of each column, which the files carry, leave NaN out.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent
NAN = float("nan")

# As the issue has them: constant but for NaN, and none above 5 but for NaN.
columns = {
    "id": pa.array([1, 2, 3, 4, 5, 6], pa.int64()),
    "d": pa.array([1.0, NAN, 3.0, NAN, 2.0, None], pa.float64()),
    "f": pa.array([NAN, 2.0, 2.0, 2.0, NAN, 2.0], pa.float32()),
    "h": pa.array([np.float16(v) for v in [NAN, 2.0, 2.0, 2.0, NAN, 2.0]], pa.float16()),
    "s": pa.array([{"d": v} for v in [NAN, 2.0, 2.0, 2.0, NAN, 2.0]]),
    "l": pa.array([[v] for v in [NAN, 2.0, 2.0, 2.0, NAN, 2.0]]),
}
table = pa.table(columns)
# Row groups of two rows, so that there is something to skip.
pq.write_table(table, HERE / "nan.parquet", row_group_size=2, write_page_index=True)
# One row group, whose float columns look constant.
pq.write_table(
    table.slice(3, 2).select(["id", "d", "f"]), HERE / "nan_constant.parquet"
)
