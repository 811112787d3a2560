"""Profiles of real files against DuckDB's exact answers, and of bundles that break."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from beam_datahub.compiler.plan import PlanProfile
from beam_datahub.compiler.profiling import BundleProfile, MergedProfiles
from beam_datahub.kernels.profiling.summary import summarise
from beam_datahub.runtime.profiling import profile_data

CASES = Path(__file__).resolve().parents[4] / "shared" / "cases"
FILES = [
    ("csv", "great-expectations/test_sets/Titanic.csv"),
    ("csv", "vega-datasets/data/seattle-weather.csv"),
    ("csv", "vega-datasets/data/la-riots.csv"),
    ("json", "vega-datasets/data/penguins.json"),
]


@pytest.mark.parametrize(("connector", "name"), FILES, ids=lambda value: Path(value).name)
def test_a_real_file_has_the_profile_that_duckdb_finds(connector: str, name: str) -> None:
    path = CASES / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    found = summarise(profile_data(name, connector, str(path)).profile)
    table = f"read_{connector}_auto('{path}')"
    columns = {row[0]: row[1] for row in duckdb.sql(f"DESCRIBE FROM {table}").fetchall()}
    assert found["rows"] == duckdb.sql(f"SELECT count(*) FROM {table}").fetchall()[0][0]
    compared = 0
    for column, kind in columns.items():
        if column not in found["columns"]:
            continue  # DuckDB names a column without a heading in its own way
        shown = found["columns"][column]
        quoted = f'"{column}"'
        distinct, nulls = duckdb.sql(f"SELECT count(DISTINCT {quoted}), count(*) - count({quoted}) FROM {table}").fetchall()[0]
        assert (shown["distinct"], shown["nulls"]) == (distinct, nulls), column
        if kind in ("BIGINT", "DOUBLE"):
            mean, low, high = duckdb.sql(f"SELECT avg({quoted}), min({quoted}), max({quoted}) FROM {table}").fetchall()[0]
            assert (shown["mean"], shown["min"], shown["max"]) == (pytest.approx(mean), low, high), column
        compared += 1
    assert compared >= len(columns) - 1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_bundle_that_breaks_and_runs_again_counts_once(threads: int) -> None:
    batch = pa.record_batch({"id": [1, 2, 3]})
    wanted = PlanProfile("orders", "orders", schema=batch.schema)
    bundle = BundleProfile(wanted, threads)
    bundle.add(batch)
    bundle.discard()
    bundle.add(batch)
    merged = MergedProfiles((wanted,))
    for kind, body in bundle.report():
        assert kind == "profile"
        merged.add(body)
    assert list(bundle.report()) == []
    assert merged.to_json()["orders"]["summary"]["rows"] == 3
