"""SQLite's types: what a column's declaration, or its values, promise."""

from __future__ import annotations

import re

import pyarrow as pa

from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ


def declared_type(declared: str) -> pa.DataType | None:
    """The type that a column's declaration promises; None where it promises none."""
    text = declared.strip().upper()
    sizes = [int(size) for size in re.findall(r"\d+", text.partition("(")[2])]
    word = text.partition("(")[0].strip()
    if word in _DECLARED:
        return _DECLARED[word]
    if word in ("DECIMAL", "NUMERIC", "TEXT_DECIMAL", "NUMBER"):
        if not sizes or sizes[0] > 38:
            return None
        return pa.decimal128(sizes[0], sizes[1] if len(sizes) > 1 else 0)
    # SQLite's own rules of what a word inside a type means.
    if "INT" in word:
        return pa.int64()
    if any(part in word for part in ("CHAR", "CLOB", "TEXT")):
        return pa.string()
    if "BLOB" in word:
        return pa.binary()
    if any(part in word for part in ("REAL", "FLOA", "DOUB")):
        return pa.float64()
    return None


_DECLARED: dict[str, pa.DataType] = {
    "BOOLEAN": pa.bool_(),
    "BOOL": pa.bool_(),
    "TINYINT": pa.int8(),
    "SMALLINT": pa.int16(),
    "FLOAT": pa.float64(),
    "DATE": pa.date32(),
    "TIME": pa.time64("us"),
    "DATETIME": TIMESTAMP,
    "TIMESTAMP": TIMESTAMP,
    "TIMESTAMPTZ": TIMESTAMPTZ,
    "JSON": JSON,
    "JSON_TEXT": JSON,
    "TEXT_INTERVAL": pa.month_day_nano_interval(),
}


def stored_type(kinds: set[str]) -> pa.DataType | None:
    """The type of a column that declares none, by the storage classes of its values."""
    if kinds == {"integer"}:
        return pa.int64()
    if kinds and kinds <= {"integer", "real"}:
        return pa.float64()
    if kinds == {"blob"}:
        return pa.binary()
    return pa.string()
