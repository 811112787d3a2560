"""The first benchmark as most Beam pipelines are written: one dict a row."""

from __future__ import annotations

import csv
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa

COLUMNS = ["id", "customer_id", "account_id", "status", "amount", "quantity", "country", "created_at", "updated_at", "note"]
SCHEMA = pa.schema(
    [
        ("order_id", pa.int64()),
        ("customer_id", pa.int64()),
        ("total", pa.float64()),
        ("country", pa.string()),
        ("placed_at", pa.timestamp("us")),
    ]
)


def parse(line: str) -> dict[str, str]:
    """Take a line apart."""
    return dict(zip(COLUMNS, next(csv.reader([line])), strict=True))


def convert(row: dict[str, str]) -> dict[str, Any]:
    """Map a row."""
    return {
        "order_id": int(row["id"]),
        "customer_id": int(row["customer_id"]),
        "total": round(float(row["amount"]) * int(row["quantity"]), 2),
        "country": row["country"].upper(),
        "placed_at": datetime.fromisoformat(row["created_at"]),
    }


def build(pipeline: beam.Pipeline, orders: str, target: str) -> None:
    """Add the benchmark to a pipeline."""
    (
        pipeline
        | beam.io.ReadFromText(orders, skip_header_lines=1)
        | beam.Map(parse)
        | beam.Filter(lambda row: row["status"] == "paid" and float(row["amount"]) > 10)
        | beam.Map(convert)
        | beam.io.WriteToParquet(str(Path(target, "part")), SCHEMA, file_name_suffix=".parquet")
    )


def main() -> None:
    """Run the benchmark that the arguments name, or print versions."""
    if sys.argv[1] == "--versions":
        print(json.dumps({"apache-beam": beam.__version__}))
        return
    _, folder, inputs, _, target = sys.argv[1:]
    with beam.Pipeline("FnApiRunner") as pipeline:
        build(pipeline, f"{folder}/{inputs}", target)


if __name__ == "__main__":
    main()
