"""Filter + map with the rules of specs/filter_map_rules.yaml by Great Expectations or pandera, or without any.

Usage: with_rules.py great_expectations|pandera plain|rules FILE MOST FOLDER; prints how many values fail.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import pycountry

ALPHA_2 = [country.alpha_2 for country in pycountry.countries]
SINCE = datetime.datetime(2020, 1, 1)
BEYOND = 100_000_000_000


def mapped(file: str) -> Any:
    """What the filter and the map make of the orders, as a frame of Polars."""
    import polars as pl

    types = {"id": pl.Int64, "customer_id": pl.Int64, "account_id": pl.Int64, "status": pl.String, "amount": pl.Float64}
    types |= {"quantity": pl.Int32, "country": pl.String, "created_at": pl.Date, "updated_at": pl.Datetime, "note": pl.String}
    orders = pl.scan_parquet(file) if file.endswith(".parquet") else pl.scan_csv(file, schema=types)
    total = (pl.col("amount") * pl.col("quantity")).round(2)
    return (
        orders.filter((pl.col("status") == "paid") & (pl.col("amount") > 10))
        .select(
            pl.col("id").alias("order_id"),
            "customer_id",
            total.alias("total"),
            pl.col("country").str.to_uppercase(),
            pl.col("created_at").cast(pl.Datetime("us")).alias("placed_at"),
        )
        .collect(engine="streaming")
    )


def pandera(frame: Any, most: int) -> int:
    """How many values fail, by pandera."""
    import pandera.polars as pa
    import polars as pl

    schema = pa.DataFrameSchema(
        {
            "customer_id": pa.Column(int, nullable=False),
            "total": pa.Column(float, pa.Check.in_range(0, most), nullable=True),
            "country": pa.Column(str, pa.Check.isin(ALPHA_2), nullable=True),
            "order_id": pa.Column(int, [pa.Check.gt(0), pa.Check.lt(BEYOND)], nullable=True),
            "placed_at": pa.Column(pl.Datetime("us"), pa.Check.ge(SINCE), nullable=True),
        }
    )
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        return int(error.failure_cases.height)
    return 0


def great_expectations(frame: Any, most: int) -> int:
    """How many values fail, by Great Expectations, which gives the rows that do as their numbers."""
    import great_expectations as gx
    from great_expectations import expectations as gxe

    context = gx.get_context(mode="ephemeral")
    batch = context.data_sources.add_pandas("orders").add_dataframe_asset("orders").add_batch_definition_whole_dataframe("all")
    suite = gx.ExpectationSuite(
        name="orders",
        expectations=[
            gxe.ExpectColumnValuesToNotBeNull(column="customer_id"),
            gxe.ExpectColumnValuesToBeBetween(column="total", min_value=0, max_value=most),
            gxe.ExpectColumnValuesToBeInSet(column="country", value_set=ALPHA_2),
            gxe.ExpectColumnValuesToBeBetween(column="order_id", min_value=0, max_value=BEYOND, strict_min=True, strict_max=True),
            gxe.ExpectColumnValuesToBeBetween(column="placed_at", min_value=SINCE),
        ],
    )
    definition = gx.ValidationDefinition(data=batch, suite=suite, name="orders")
    context.suites.add(suite)
    found = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": frame.to_pandas()}, result_format="COMPLETE"
    )
    return sum(int(each.result["unexpected_count"]) for each in found.results)


def main() -> None:
    """Run what the arguments say."""
    tool, mode, file, most, folder = sys.argv[1:]
    frame = mapped(file)
    failed = {"pandera": pandera, "great_expectations": great_expectations}[tool](frame, int(most)) if mode == "rules" else 0
    Path(folder).mkdir(parents=True, exist_ok=True)
    frame.write_parquet(Path(folder) / "orders.parquet")
    print(failed)


if __name__ == "__main__":
    main()
