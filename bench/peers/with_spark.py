"""The benchmarks in PySpark: one SQL query over a CSV file whose columns and types are given."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyspark
import sqlglot
from pyspark.sql import SparkSession

sys.path.append(str(Path(__file__).resolve().parent.parent))
from queries import ORDERS, QUERIES


def main() -> None:
    """Run the benchmark that the arguments name, or print versions."""
    if sys.argv[1] == "--versions":
        print(json.dumps({"pyspark": pyspark.__version__}))
        return
    query, orders, target = sys.argv[1:]
    spark = SparkSession.builder.config("spark.ui.enabled", "false").getOrCreate()
    columns = ", ".join(f"{name} {'string' if kind == 'VARCHAR' else kind}" for name, kind in ORDERS.items())
    spark.read.csv(orders, schema=columns, header=True).createOrReplaceTempView("orders")
    statement = sqlglot.transpile(QUERIES[query].format(input="orders"), read="duckdb", write="spark")[0]
    spark.sql(statement).write.parquet(target, mode="overwrite")
    spark.stop()


if __name__ == "__main__":
    main()
