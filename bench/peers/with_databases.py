"""Loads a CSV file into PostgreSQL, or writes a table into a Parquet file, through one of several libraries.

Arguments: form, `load`, URL, file, table; or form, `read`, URL, table, file.
"""

from __future__ import annotations

import csv
import shutil
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

_AT_ONCE = 10_000


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows as Python's values."""
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            yield {
                "id": int(row["id"]),
                "customer": int(row["customer"]),
                "amount": Decimal(row["amount"]),
                "status": row["status"],
                "note": row["note"],
                "weight": float(row["weight"]),
                "placed_at": datetime.fromisoformat(row["placed_at"]),
            }


def tables(file: Path) -> Iterator[Any]:
    """The rows as Arrow tables."""
    import pyarrow as pa
    import pyarrow.csv

    types = {"amount": pa.decimal128(12, 2), "weight": pa.float64(), "placed_at": pa.timestamp("us")}
    options = pyarrow.csv.ConvertOptions(column_types=types)
    reading = pyarrow.csv.ReadOptions(block_size=16 << 20)
    for batch in pyarrow.csv.open_csv(file, reading, convert_options=options):
        yield pa.Table.from_batches([batch])


def with_dlt(form: str, work: str, url: str, given: str, to: str) -> None:
    """Through a pipeline of dlt's."""
    import dlt
    from dlt.sources.sql_database import sql_table

    by_arrow = form == "dlt_arrow"
    with tempfile.TemporaryDirectory() as folder:
        if work == "load":
            # It asks for a password also where the server does not.
            destination: Any = dlt.destinations.postgres(url.replace("postgres@", "postgres:none@"))
            source: Any = dlt.resource((tables if by_arrow else rows)(Path(given)), name=to)
            name, form_of_file = to, "csv" if by_arrow else "insert_values"
        else:
            destination = dlt.destinations.filesystem(f"{folder}/out")
            plain = url.replace("postgresql://", "postgresql+psycopg2://")
            backend: Any = "pyarrow" if by_arrow else "sqlalchemy"
            source = sql_table(plain, table=given, backend=backend, chunk_size=50_000)
            name, form_of_file = given, "parquet"
        pipeline = dlt.pipeline("bench", destination=destination, dataset_name="public", pipelines_dir=folder)
        done = pipeline.run(source, table_name=name, write_disposition="replace", loader_file_format=form_of_file)  # type: ignore[arg-type]
        done.raise_on_failed_jobs()
        if work == "read":
            (written,) = Path(folder, "out").rglob(f"{name}/*.parquet")
            shutil.move(written, to)


def with_sqlalchemy(url: str, given: str, to: str) -> None:
    """Through inserts of many rows."""
    from sqlalchemy import MetaData, Table, create_engine, insert

    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    table = Table(to, MetaData(), autoload_with=engine)
    found = rows(Path(given))
    with engine.begin() as connection:
        while some := list(islice(found, _AT_ONCE)):
            connection.execute(insert(table), some)


def with_adbc(work: str, url: str, given: str, to: str) -> None:
    """Through ADBC alone; numbers in and out as it has them: decimals as texts out, as floating-point numbers in."""
    import adbc_driver_postgresql.dbapi as adbc
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    with adbc.connect(url) as connection, connection.cursor() as cursor:
        if work == "load":
            cursor.adbc_ingest(to, pyarrow.csv.open_csv(given), mode="append")
            connection.commit()
            return
        cursor.execute(f"select * from {given}")
        reader = cursor.fetch_record_batch()
        plain = [f.with_type(f.type.storage_type) if hasattr(f.type, "storage_type") else f for f in reader.schema]
        schema = pa.schema(plain)
        with pq.ParquetWriter(to, schema) as writer:
            for batch in reader:
                arrays = [c.storage if hasattr(c, "storage") else c for c in batch.columns]
                writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


def main() -> None:
    """Do what the arguments say."""
    form, work, url, given, to = sys.argv[1:]
    if form == "adbc":
        with_adbc(work, url, given, to)
    elif form == "sqlalchemy":
        with_sqlalchemy(url, given, to)
    else:
        with_dlt(form, work, url, given, to)


if __name__ == "__main__":
    main()
