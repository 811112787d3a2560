"""The benchmarks: what each reads and writes, how its answer is checked, and what is wanted of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One benchmark. `query` names its SQL in queries.py, `spec` its integration in specs/, `key` its unique columns."""

    name: str
    title: str
    query: str
    spec: str
    inputs: tuple[str, ...]
    key: tuple[str, ...]
    output: str = "parquet"
    shuffles: bool = False
    # Rows that the input has for each order.
    share: float = 1.0
    # What the oracle reads in place of the input, and the condition on its rows; for input that has defects.
    oracle_inputs: tuple[str, ...] = ()
    oracle_where: str = ""


CASES = [
    Case("csv_parquet", "filter + map, CSV → Parquet", "filter_map", "filter_map", ("orders.csv",), ("order_id",)),
    Case("parquet_parquet", "filter + map, Parquet → Parquet", "filter_map", "filter_map", ("orders.parquet",), ("order_id",)),
    Case("json_parquet", "nested JSON Lines → Parquet", "nested", "nested", ("nested.jsonl",), ("order_id",), share=0.2),
    Case("csv_csv", "filter + map, CSV → CSV", "filter_map", "filter_map", ("orders.csv",), ("order_id",), output="csv"),
    Case(
        "group_by",
        "group-by, 6 groups a customer",
        "group_by",
        "group_by",
        ("orders.csv",),
        ("customer_id", "status"),
        shuffles=True,
    ),
    Case("join", "join with 1 % as many rows", "join", "join", ("orders.csv", "customers.csv"), ("id",), shuffles=True),
    Case(
        "join_large",
        "join with 50 % as many rows",
        "join_large",
        "join_large",
        ("orders.csv", "accounts.csv"),
        ("id",),
        shuffles=True,
    ),
    Case(
        "deduplicate",
        "deduplicate, latest of a key",
        "deduplicate",
        "deduplicate",
        ("orders.csv",),
        ("account_id",),
        shuffles=True,
    ),
    Case(
        "defective",
        "filter + map, 1 % defective rows",
        "filter_map",
        "filter_map",
        ("defective.csv",),
        ("order_id",),
        oracle_inputs=("orders.csv",),
        oracle_where="order_id % 100 <> 37",
    ),
]


@dataclass(frozen=True)
class Wanted:
    """A bound on a ratio: ours to the peer's time (or of throughputs, for peers that run on fewer rows)."""

    case: str
    against: str
    measure: str
    bound: float
    text: str


def wanted(rows: int) -> list[Wanted]:
    """The bounds that hold for inputs of so many rows."""
    mapping, shuffling = (1.5, 2.5) if rows >= 100_000_000 else (2.0, 3.0)
    bounds = []
    for case in CASES:
        beyond = 2.0 if case.shuffles else 1.3
        if case.name != "defective":
            bounds.append(Wanted(case.name, "duckdb", "beyond", beyond, f"within {beyond:g}× of DuckDB beyond start-up"))
        whole = shuffling if case.shuffles else mapping
        bounds.append(Wanted(case.name, "duckdb", "wall", whole, f"within {whole:g}× of DuckDB as a whole process"))
        if not case.shuffles and case.name != "defective":
            bounds.append(Wanted(case.name, "polars", "wall", 1.0, "ahead of Polars as a whole process"))
    bounds += [
        Wanted("csv_parquet", "beam_rows", "throughput", 20, "at least 20× row-wise Beam"),
        Wanted("csv_parquet", "beam_yaml", "throughput", 20, "at least 20× Beam YAML"),
        Wanted("csv_parquet", "dlt_rows", "throughput", 8, "at least 8× dlt's rows"),
    ]
    return bounds
