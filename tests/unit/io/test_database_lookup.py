"""Databases asked by keys: the rows that have them, whatever the types and however many keys there are."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.source import ReadRequest, Source
from beam_datahub.errors import LossyWrite, Transient
from beam_datahub.kernels.workbench import over
from tests.unit.io.database_systems import SYSTEMS, System, made

TEXTS = ["a", "A", "a ", "it's", 'say "hi"', "back\\slash", "{1,2}", "ü", "🐪", "", "%_", ":x", "n\0ul", "NULL", "\\x61"]
KEYS: dict[str, tuple[Any, list[Any]]] = {
    "n": (pa.int64(), [0, 1, -1, 2**63 - 1, -(2**63)]),
    "t": (pa.string(), TEXTS),
    "amount": (pa.decimal128(18, 4), [Decimal("1.5000"), Decimal("-99999999999999.9999"), Decimal("0.0000")]),
    "day": (pa.date32(), [datetime.date(2024, 2, 29), datetime.date(1970, 1, 1), datetime.date(9999, 12, 31)]),
    "at": (pa.timestamp("us"), [datetime.datetime(2024, 2, 29, 12, 0, 0, 1), datetime.datetime(1999, 12, 31)]),
    "zoned": (pa.timestamp("us", "UTC"), [datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)]),
}


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """An empty database."""
    yield made(request.param, tmp_path, request)
    close_pools()


def asked(source: Source, keys: pa.Table, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows that have the keys exactly: a source may give more."""
    schema = source.discover().schema
    request = ReadRequest(schema, tuple(columns or schema.names))
    tables = [pa.Table.from_batches([block.batch]) for block in source.lookup(keys, request)]
    if not tables:
        return []
    found = pa.concat_tables(tables)
    names = ", ".join(f'"{name}"' for name in keys.column_names)
    key = over(keys.append_column("wanted", pa.array([True] * keys.num_rows)), "FROM t")
    joined = found.join(key, keys.column_names, join_type="inner") if names else found
    return sorted(joined.drop_columns(["wanted"]).to_pylist(), key=str)


@pytest.mark.parametrize("column", list(KEYS))
def test_every_value_of_a_key_is_found(system: System, column: str) -> None:
    kind, values = KEYS[column]
    if "url" in system.connection and "postgresql" in system.connection["url"]:
        values = [value for value in values if value != TEXTS[12]]
    table = pa.table({"k": pa.array([*values, None], kind), "v": pa.array(range(len(values) + 1), pa.int64())})
    with contextlib.suppress(LossyWrite):
        system.write(system.sink(table="t"), table)
    source = system.source(table="t")
    if not source.asks_by("k", kind) or source.discover().schema.field("k").type != kind:
        # Such a reference is held as a whole.
        return
    missing: list[Any] = {"n": [77], "t": ["none", "n\0one"]}.get(column, [])
    assert asked(source, pa.table({"k": pa.array([*values, *missing], kind)})) == sorted(
        table.slice(0, len(values)).to_pylist(), key=str
    )
    for value in values:
        found = asked(source, pa.table({"k": pa.array([value], kind)}))
        assert [row["v"] for row in found] == [values.index(value)], value


def test_several_columns_make_a_key(system: System) -> None:
    rows = pa.table({"a": pa.array([1, 1, 2, None], pa.int64()), "b": ["x", "y", "x", "x"], "v": pa.array(range(4), pa.int64())})
    system.write(system.sink(table="t"), rows)
    keys = pa.table({"a": pa.array([1, 2, 2], pa.int64()), "b": ["y", "x", "q"]})
    assert [row["v"] for row in asked(system.source(table="t"), keys)] == [1, 2]
    assert [row["v"] for row in asked(system.source(query="select * from t", where="v < 2"), keys)] == [1]


def test_many_keys_are_asked_in_few_queries(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 30_000
    table = pa.table({"k": pa.array(range(count), pa.int64()), "v": pa.array(range(count), pa.int64())})
    system.write(system.sink(table="t"), table, mode="overwrite")
    source: Any = system.source(table="t")
    with source.connected() as session:
        kind = type(session)
    queries: list[str] = []
    stream = kind.stream

    def counted(self: Any, columns: Any, relation: Any, where: Any, *rest: Any) -> Any:
        queries.append(str(where))
        return stream(self, columns, relation, where, *rest)

    monkeypatch.setattr(kind, "stream", counted)
    keys = pa.table({"k": pa.array(range(count - 12_000, count + 5000), pa.int64())})
    found = asked(source, keys, ["v", "k"])
    assert len(found) == 12_000
    assert len(queries) <= (34 if system.connector == "sql" else 2)


def test_what_takes_too_long_is_broken_off(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_datahub.component.database._ATTEMPTS", 1)
    slow = {
        "postgresql": "select k, v || coalesce(pg_sleep(60)::text, '') as v from t",
        "mysql": "select k, concat(v, sleep(60)) as v from t",
        "duckdb": "select k, (select sum(a.i * b.i) from range(999999) a(i), range(999999) b(i) where a.i + b.i > t.k)::varchar "
        "as v from t",
        "sqlite": "with recursive c(n) as (select 1 union all select n + 1 from c where n < 1000000000) "
        "select k, (select count(*) from c where n > t.k) as v from t",
    }
    for name, query in slow.items():
        (tmp_path / name).mkdir()
        system = made(name, tmp_path / name, request)
        system.write(system.sink(table="t"), pa.table({"k": pa.array([1], pa.int64()), "v": ["x"]}))
        source: Any = system.source(query=query)
        schema = pa.schema([("k", pa.int64()), ("v", pa.string())])
        source._columns = {column.name: column for column in _columns(system)}
        keys = pa.table({"k": pa.array([1], pa.int64())})
        with pytest.raises(Transient, match="there was no answer within"):
            # Over before the query has begun, as on a machine that is slow.
            list(source.lookup(keys, ReadRequest(schema, ("k", "v")), timeout_seconds=0.001))
        # The next one has a connection that works.
        assert asked(system.source(table="t"), keys) == [{"k": 1, "v": "x"}]
    close_pools()


def _columns(system: System) -> Any:
    source: Any = system.source(table="t")
    with source.connected() as session:
        return session.describe(source.relation)


def test_a_uuid_of_postgresql_is_found_by_its_index(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    system = made("postgresql", tmp_path, request)
    system.run(
        "create table t (k uuid primary key, c char(5), v int)",
        "insert into t select gen_random_uuid(), 'ab', i from generate_series(1, 9) i",
    )
    source: Any = system.source(table="t")
    whole = system.rows("t")
    keys = pa.table({"k": [whole[0]["k"], whole[1]["k"].upper(), "no uuid"]})
    assert asked(source, keys) == [whole[0]]
    assert len(asked(source, pa.table({"c": [whole[0]["c"]]}))) == 9
    with source.connected() as session:
        (column, *_) = session.describe(source.relation)
        condition = session.dialect.having([(column, keys["k"].to_pylist())])
        session.execute("set enable_seqscan = off")
        plan = "\n".join(str(line) for line in session.fetch(f"explain select * from t where {condition}"))
        session.broken = True
    assert "t_pkey" in plan
    close_pools()
