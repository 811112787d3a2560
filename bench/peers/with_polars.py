"""The benchmarks in Polars: one lazy query, written by its streaming engine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
from polars import col

ORDERS = {
    "id": pl.Int64,
    "customer_id": pl.Int64,
    "account_id": pl.Int64,
    "status": pl.String,
    "amount": pl.Float64,
    "quantity": pl.Int32,
    "country": pl.String,
    "created_at": pl.Date,
    "updated_at": pl.Datetime("us"),
    "note": pl.String,
}
CUSTOMERS = {"customer_id": pl.Int64, "email": pl.String, "tier": pl.String}
ACCOUNTS = {"account_id": pl.Int64, "owner": pl.String, "state": pl.String}
NESTED = {
    "id": pl.Int64,
    "customer": pl.Struct({"id": pl.Int64, "name": pl.String, "address": pl.Struct({"city": pl.String, "country": pl.String})}),
    "items": pl.List(pl.Struct({"sku": pl.String, "quantity": pl.Int32, "price": pl.Float64})),
    "tags": pl.List(pl.String),
    "placed_at": pl.String,
}
SCHEMAS = {"orders": ORDERS, "customers": CUSTOMERS, "accounts": ACCOUNTS, "nested": NESTED}


def scan(file: Path) -> pl.LazyFrame:
    """Read one file of the benchmark's data."""
    if file.suffix == ".parquet":
        return pl.scan_parquet(file)
    if file.suffix == ".jsonl":
        return pl.scan_ndjson(file, schema=NESTED)
    return pl.scan_csv(file, schema=SCHEMAS[file.stem])


def query(name: str, frame: pl.LazyFrame, other: pl.LazyFrame) -> pl.LazyFrame:
    """The query of that name."""
    if name == "filter_map":
        return frame.filter((col("status") == "paid") & (col("amount") > 10)).select(
            order_id="id",
            customer_id="customer_id",
            total=(col("amount") * col("quantity")).round(2),
            country=col("country").str.to_uppercase(),
            placed_at=col("created_at").cast(pl.Datetime("us")),
        )
    if name == "nested":
        address = col("customer").struct.field("address")
        return frame.filter(address.struct.field("country") != "it").select(
            order_id="id",
            city=address.struct.field("city"),
            country=address.struct.field("country").str.to_uppercase(),
            skus=col("items").list.eval(pl.element().struct.field("sku")),
            lines=col("items").list.len(),
            first_price=col("items").list.first().struct.field("price"),
        )
    if name == "group_by":
        return frame.group_by("customer_id", "status").agg(
            orders=pl.len(), revenue=(col("amount") * col("quantity")).sum(), most=col("quantity").max()
        )
    if name == "join":
        return frame.join(other, on="customer_id").select("id", "customer_id", "amount", "email", "tier")
    if name == "join_large":
        return frame.join(other, on="account_id").select("id", "account_id", "amount", "owner", "state")
    kept = col("id", "status", "amount", "updated_at")
    return frame.group_by("account_id").agg(kept.max_by(pl.struct("updated_at", "id")))


def main() -> None:
    """Run the benchmark that the arguments name, or print versions."""
    if sys.argv[1] == "--versions":
        print(json.dumps({"polars": pl.__version__}))
        return
    name, folder, inputs, form, target = sys.argv[1:]
    frames = [scan(Path(folder, file)) for file in inputs.split(",")]
    result = query(name, frames[0], frames[-1])
    if form == "csv":
        result.sink_csv(Path(target, "part.csv"))
    else:
        result.sink_parquet(Path(target, "part.parquet"), compression="snappy")


if __name__ == "__main__":
    main()
