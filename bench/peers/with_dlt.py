"""The first benchmark in dlt, over row dicts or over Arrow tables; it loads Parquet files through its filesystem destination."""

from __future__ import annotations

import csv
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """Filter and map row by row."""
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if row["status"] == "paid" and float(row["amount"]) > 10:
                yield {
                    "order_id": int(row["id"]),
                    "customer_id": int(row["customer_id"]),
                    "total": round(float(row["amount"]) * int(row["quantity"]), 2),
                    "country": row["country"].upper(),
                    "placed_at": datetime.fromisoformat(row["created_at"]),
                }


def tables(file: Path) -> Iterator[pa.Table]:
    """Filter and map 16 MiB at a time."""
    wanted = {
        "id": pa.int64(),
        "customer_id": pa.int64(),
        "status": pa.string(),
        "amount": pa.float64(),
        "quantity": pa.int32(),
        "country": pa.string(),
        "created_at": pa.timestamp("us"),
    }
    reader = pyarrow.csv.open_csv(
        file,
        read_options=pyarrow.csv.ReadOptions(block_size=16 << 20),
        convert_options=pyarrow.csv.ConvertOptions(column_types=wanted, include_columns=list(wanted)),
    )
    for batch in reader:
        kept = pa.table(batch).filter((pc.field("status") == "paid") & (pc.field("amount") > 10))
        yield pa.table(
            {
                "order_id": kept["id"],
                "customer_id": kept["customer_id"],
                "total": pc.round(pc.multiply(kept["amount"], kept["quantity"].cast(pa.float64())), 2),
                "country": pc.utf8_upper(kept["country"]),
                "placed_at": kept["created_at"],
            }
        )


def main() -> None:
    """Run the benchmark that the arguments name, or print versions."""
    if sys.argv[1] == "--versions":
        print(json.dumps({"dlt": dlt.__version__, "pyarrow": pa.__version__}))
        return
    form, _, folder, inputs, _, target = sys.argv[1:]
    source = (rows if form == "rows" else tables)(Path(folder, inputs))
    with tempfile.TemporaryDirectory() as work:
        pipeline = dlt.pipeline(
            "bench", destination=dlt.destinations.filesystem(bucket_url=target), dataset_name="out", pipelines_dir=work
        )
        done = pipeline.run(source, table_name="orders", write_disposition="replace", loader_file_format="parquet")
        done.raise_on_failed_jobs()


if __name__ == "__main__":
    main()
