"""Memory: a run that does not shuffle holds no more of a big input than of a small one; a shuffle spills past its budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

MIB = 1024**2
ROWS = 1_500_000


def rows(path: Path, count: int) -> None:
    """Rows of about 60 bytes: an id that is unique, a key that 300,000 rows differ in, an amount and a text."""
    sql = f"SELECT i AS id, (i * 7919) % 300000 AS key, i % 1000 AS amount, md5(i::VARCHAR) AS text FROM range({count}) t(i)"
    duckdb.sql(f"COPY ({sql}) TO '{path}' (HEADER)")


@pytest.mark.parametrize("destination", ["parquet, connection: {path: out.parquet}", "csv, connection: {path: out.csv}"])
def test_the_memory_of_a_run_that_does_not_shuffle_does_not_grow_with_its_input(destination: str, work: Any) -> None:
    steps = "  - {id: kept, type: filtering, config: {where: amount < 900}}\n"
    steps += "  - {id: mapped, type: mapping, config: {fields: {id: id, total: amount * 2, text: upper(text)}}}"
    peaks = {}
    for size in (3_600_000, 10_800_000):
        rows(work.folder / "data.csv", size)
        work.spec(
            "{connector: csv, connection: {path: data.csv}}", f"connector: {destination}, write_mode: overwrite", steps=steps
        )
        done = work.bh("run", "spec.yaml", "--json")
        assert done.status == 0, done
        assert done.record["written"]["out"]["rows"] == size * 9 // 10
        peaks[size] = done.peak_bytes
    assert peaks[10_800_000] < 1.15 * peaks[3_600_000], peaks
    assert peaks[10_800_000] < 1536 * MIB, peaks


SHUFFLES = {
    "aggregation": (
        "{id: s, type: aggregation, config: {by: key, measures: {rows: count(*), total: sum(amount), n: count(distinct text)}}}",
        "SELECT key, count(*) AS rows, sum(amount) AS total, count(distinct text) AS n FROM data GROUP BY key",
    ),
    "deduplication": (
        "{id: s, type: deduplication, config: {by: key, order_by: id, keep: last}}",
        "SELECT DISTINCT ON (key) * FROM data ORDER BY key, id DESC",
    ),
    "top": (
        "{id: s, type: top, config: {by: key, order_by: id, limit: 2}}",
        "SELECT * FROM data QUALIFY row_number() OVER (PARTITION BY key ORDER BY id) <= 2",
    ),
    "join": (
        "{id: s, type: join, input: [in, other], config: {on: id, kind: left, columns: {id: in.id, a: in.text, b: other.text}}}",
        "SELECT a.id, a.text AS a, b.text AS b FROM data a LEFT JOIN (FROM data WHERE id % 2 = 0) b USING (id)",
    ),
}


@pytest.mark.parametrize("case", SHUFFLES.values(), ids=SHUFFLES.keys())
def test_a_shuffle_past_its_budget_spills_and_its_result_is_right(
    case: tuple[str, str], work: Any, balanced: Callable[..., None]
) -> None:
    step, sql = case
    rows(work.folder / "data.csv", ROWS)
    duckdb.sql(f"COPY (FROM '{work.folder}/data.csv' WHERE id % 2 = 0) TO '{work.folder}/other.csv' (HEADER)")
    spec = work.spec(
        "{connector: csv, connection: {path: data.csv}}",
        "input: s, connector: parquet, connection: {path: out.parquet}, write_mode: overwrite",
        steps=f"  - {step}",
    )
    if "other" in step:
        text = spec.read_text().replace(
            "transformations:", "  other: {connector: csv, connection: {path: other.csv}}\ntransformations:"
        )
        spec.write_text(text)
    done = work.bh("run", "spec.yaml", "--json", "--memory", "64MiB")
    assert done.status == 0, done
    balanced(done)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW data AS FROM '{work.folder}/data.csv'")
        connection.execute(f"CREATE VIEW found AS FROM '{work.folder}/out.parquet'")
        connection.execute(f"CREATE TABLE wanted AS {sql}")
        columns = ", ".join(name for name, *_ in connection.execute("DESCRIBE wanted").fetchall())
        for one, other in (("wanted", "found"), ("found", "wanted")):
            differing = f"SELECT {columns} FROM {one} EXCEPT ALL SELECT {columns} FROM {other}"
            assert connection.execute(f"SELECT count(*) FROM ({differing})").fetchall() == [(0,)]
    assert done.peak_bytes < 1024 * MIB, done.peak_bytes / MIB
    assert list((work.folder / ".tmp").iterdir()) == []
