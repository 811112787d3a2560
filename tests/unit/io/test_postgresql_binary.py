"""Rows that PostgreSQL is given in its binary form arrive as they would as texts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from beam_datahub.component.database import RowsRefused, TableName
from beam_datahub.component.database_pool import close_pools
from beam_datahub.io.postgresql import binary
from beam_datahub.io.postgresql.connection import PostgresqlConnection
from beam_datahub.io.postgresql.session import PostgresqlSession
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ
from tests.unit.io.database_systems import new_database


@pytest.fixture
def url(postgresql: str) -> Iterator[str]:
    """An empty database."""
    yield new_database(postgresql)
    close_pools()


def loaded(url: str, declared: list[str], batch: pa.RecordBatch) -> tuple[list[Any], bool]:
    """What a table of these columns shows as text once a batch is loaded, and whether it went in binary form."""
    listed = ", ".join(f"c{index} {each}" for index, each in enumerate(declared))
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"set timezone = 'UTC'; drop table if exists t; create table t ({listed})".encode())
        with PostgresqlConnection(url=url).connected() as session:
            assert isinstance(session, PostgresqlSession)
            columns = session.columns(TableName("t"))
            assert columns is not None
            is_binary = binary.binary_form(columns, batch) is not None
            session.load(TableName("t"), columns, batch)
        texts = ", ".join(f"c{index}::text" for index in range(len(declared)))
        return server.execute(f"select {texts} from t".encode()).fetchall(), is_binary


VALUES: list[tuple[str, pa.DataType, list[Any]]] = [
    ("boolean", pa.bool_(), [True, False, None]),
    ("smallint", pa.int8(), [-128, 127, None]),
    ("smallint", pa.int16(), [-32768, 32767, None]),
    ("integer", pa.int16(), [-32768, 32767, None]),
    ("integer", pa.int32(), [-(2**31), 2**31 - 1, None]),
    ("bigint", pa.int64(), [-(2**63), 2**63 - 1, None]),
    ("real", pa.float32(), [1.5, float("-inf"), None]),
    ("double precision", pa.float64(), [0.1, float("nan"), -0.0]),
    ("numeric", pa.decimal128(38, 10), [Decimal("-0.0000000001"), Decimal("1234567890123456789012345678.1"), Decimal(0)]),
    ("numeric", pa.decimal128(12, 2), [Decimal("10000.50"), Decimal("-9999.99"), None]),
    ("numeric(10,1)", pa.decimal128(12, 2), [Decimal("0.25"), Decimal("-1.05"), Decimal(100)]),
    ("text", pa.string(), ["", 'ä "\\N" \t\n\r,', None]),
    ("varchar(3)", pa.string(), ["ab ", "\\.", None]),
    ("json", JSON, ['{"a": [1, null]}', '"x"', None]),
    ("jsonb", JSON, ['{"b":1,"a":"ü"}', "null", None]),
    ("bytea", pa.binary(), [b"", b"\x00\xff\\", None]),
    ("date", pa.date32(), [date(1, 1, 1), date(9999, 12, 31), None]),
    ("time", pa.time64("us"), [time(0, 0), time(23, 59, 59, 999999), None]),
    ("timestamp", TIMESTAMP, [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), None]),
    ("timestamp(3)", TIMESTAMP, [datetime(1969, 12, 31, 23, 59, 59, 999999), datetime(2000, 1, 1, 0, 0, 0, 500), None]),
    ("timestamptz", TIMESTAMPTZ, [datetime(1969, 7, 20, 20, 17, tzinfo=UTC), datetime(2026, 3, 29, 1, 0, tzinfo=UTC), None]),
]


def batch_of(values: list[tuple[str, pa.DataType, list[Any]]]) -> pa.RecordBatch:
    arrays = [pa.array(each, kind) if kind != JSON else pa.array(each, pa.string()).cast(JSON) for _, kind, each in values]
    return pa.RecordBatch.from_arrays(arrays, names=[f"c{index}" for index in range(len(arrays))])


def test_each_type_arrives_as_its_text_would(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    declared, batch = [each for each, _, _ in VALUES], batch_of(VALUES)
    rows, is_binary = loaded(url, declared, batch)
    assert is_binary
    monkeypatch.setattr("beam_datahub.io.postgresql.session.binary_form", lambda columns, batch: None)
    as_texts, _ = loaded(url, declared, batch)
    for column, (kind, _, _) in enumerate(VALUES):
        assert [row[column] for row in rows] == [row[column] for row in as_texts], kind


@pytest.mark.parametrize(
    ("declared", "kind", "given", "shown"),
    [
        ("uuid", pa.string(), "11111111-2222-3333-4444-555555555555", "11111111-2222-3333-4444-555555555555"),
        ("integer", pa.int64(), 7, "7"),
        ("double precision", pa.float32(), 0.1, "0.1"),
        ("numeric", pa.int64(), 7, "7"),
        ("date", pa.date32(), 2**31 - 1, "infinity"),
        ("timestamp", TIMESTAMP, -(2**63 - 1), "-infinity"),
        ("text[]", pa.list_(pa.string()), ["a", None], "{a,NULL}"),
        ("timestamp", TIMESTAMPTZ, 0, "1970-01-01 00:00:00"),
    ],
)
def test_what_has_another_form_there_goes_as_text(url: str, declared: str, kind: pa.DataType, given: Any, shown: str) -> None:
    plain = {pa.date32(): pa.int32(), TIMESTAMP: pa.int64(), TIMESTAMPTZ: pa.int64()}.get(kind, kind)
    batch = pa.RecordBatch.from_arrays([pa.array([given], plain).view(kind)], names=["c0"])
    assert loaded(url, [declared], batch) == ([(shown,)], False)


def test_a_domain_keeps_its_own_rules(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as server:
        server.execute("create domain positive as bigint check (value > 0)")
    batch = pa.RecordBatch.from_arrays([pa.array([1])], names=["c0"])
    assert loaded(url, ["positive"], batch) == ([("1",)], False)
    with pytest.raises(RowsRefused, match="positive_check"):
        loaded(url, ["positive"], pa.RecordBatch.from_arrays([pa.array([-1])], names=["c0"]))


@pytest.mark.parametrize(
    ("declared", "kind", "given", "words"),
    [
        ("varchar(2)", pa.string(), "abc", "value too long"),
        ("numeric(3,1)", pa.decimal128(12, 2), Decimal("1000.00"), "numeric field overflow"),
        ("jsonb", JSON, "{", "invalid input syntax for type json"),
        ("text", pa.string(), "a\0b", "invalid byte sequence"),
    ],
)
def test_what_the_server_refuses_it_refuses_in_the_same_words(
    url: str, declared: str, kind: pa.DataType, given: Any, words: str
) -> None:
    with pytest.raises(RowsRefused, match=words) as refused:
        loaded(url, [declared], batch_of([(declared, kind, [given])]))
    assert refused.value.column in ("c0", None)
