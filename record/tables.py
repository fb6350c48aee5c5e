"""Parquet in and out: the only importer of pyarrow in this room.

Tables are handed over as bytes, so that files appear whole.
"""

# pyright: basic
# pyarrow ships no types; nothing but plain Python and arrays leaves this module.

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

# How pandas recognises an index column (pandas developer guide, "Storing pandas DataFrame objects
# in Apache Parquet format"): LeRobot reads tasks.parquet with pandas, the task as its index.
_PANDAS_TASKS = {
    "index_columns": ["task"],
    "column_indexes": [
        {
            "name": None,
            "field_name": None,
            "pandas_type": "unicode",
            "numpy_type": "object",
            "metadata": {"encoding": "UTF-8"},
        }
    ],
    "columns": [
        {
            "name": name,
            "field_name": name,
            "pandas_type": pandas_type,
            "numpy_type": numpy_type,
            "metadata": None,
        }
        for name, pandas_type, numpy_type in (
            ("task_index", "int64", "int64"),
            ("task", "unicode", "object"),
        )
    ],
    "creator": {"library": "pyarrow", "version": pa.__version__},
    "pandas_version": "2.0.0",
}


def rows_parquet(columns: Mapping[str, NDArray[np.generic]]) -> bytes:
    """Return a dataset's data file: float32 or int64 columns, (n,) or (n, d); one row group.

    The schema carries the feature types as the `datasets` package 4.x writes them.
    """
    arrays: list[pa.Array] = []
    described: dict[str, object] = {}
    for key, values in columns.items():
        value = {"dtype": str(values.dtype), "_type": "Value"}
        flat = pa.array(np.ascontiguousarray(values).ravel())
        if values.ndim == 1:
            arrays.append(flat)
            described[key] = value
        else:
            arrays.append(pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
            described[key] = {"feature": value, "length": values.shape[1], "_type": "List"}
    fields = [pa.field(key, array.type) for key, array in zip(columns, arrays, strict=True)]
    metadata = {b"huggingface": msgspec.json.encode({"info": {"features": described}})}
    return _parquet(pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=metadata)))


def columns_parquet(columns: Mapping[str, NDArray[np.float64]]) -> bytes:
    """Return a plain table of numbers."""
    return _parquet(pa.table({name: pa.array(column) for name, column in columns.items()}))


def row_parquet(row: Mapping[str, object]) -> bytes:
    """Return a table of one row; values may be nested lists."""
    return _parquet(pa.Table.from_pylist([dict(row)]))


def tasks_parquet(tasks: Sequence[str]) -> bytes:
    """Return the table of tasks: for pandas, a frame indexed by the task's text."""
    table = pa.table(
        {
            "task_index": pa.array(range(len(tasks)), type=pa.int64()),
            "task": pa.array(list(tasks), type=pa.string()),
        }
    )
    return _parquet(table.replace_schema_metadata({b"pandas": msgspec.json.encode(_PANDAS_TASKS)}))


def read_rows(path: Path) -> list[dict[str, object]]:
    """Return a table's rows; values as plain Python."""
    rows: list[dict[str, object]] = pq.ParquetFile(path).read().to_pylist()
    return rows


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="snappy", use_dictionary=True)
    return buffer.getvalue()
