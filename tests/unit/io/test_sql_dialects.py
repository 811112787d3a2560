"""What the connector `sql` knows of databases that are not here: types both ways, names, moments, and texts without letters."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mssql as sqlalchemy_mssql
from sqlalchemy.dialects import mysql, oracle
from sqlalchemy.engine import make_url

from beam_datahub.component.database import TableColumn
from beam_datahub.errors import LossyWrite
from beam_datahub.io.sql.connection import SqlDialect, spelt
from beam_datahub.io.sql.session import SqlSession
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ
from tests.unit.io.database_systems import made

URLS = {
    "mssql": "mssql+pymssql://u@h/d",
    "mssql by odbc": "mssql+pyodbc://u@h/d",
    "oracle": "oracle+oracledb://u@h/?service_name=x",
    "mysql": "mysql+pymysql://u@h/d",
}
# SQLAlchemy has no annotations there.
NUMBER: Any = oracle.NUMBER
mssql: Any = sqlalchemy_mssql


def dialect(name: str) -> SqlDialect:
    return spelt(make_url(URLS[name]).get_dialect()())


@pytest.mark.parametrize("name", ["mssql", "mssql by odbc"])
def test_sql_server_keeps_every_letter_and_every_microsecond(name: str) -> None:
    found = dialect(name)
    kinds = [pa.string(), pa.binary(), pa.date32(), pa.time64("us"), TIMESTAMP, TIMESTAMPTZ, pa.bool_(), pa.uint64()]
    assert [found.declared(kind) for kind in kinds] == [
        "NVARCHAR(max)", "VARBINARY(max)", "DATE", "TIME(6)", "DATETIME2(6)", "DATETIMEOFFSET(6)", "BIT", "NUMERIC(20, 0)",
    ]  # fmt: skip
    assert found.keyed(pa.string()) == "NVARCHAR(255) COLLATE Latin1_General_100_BIN2"


def test_oracle_keeps_fractions_of_seconds_and_binary_numbers() -> None:
    found = dialect("oracle")
    kinds = [pa.string(), pa.binary(), pa.date32(), TIMESTAMP, TIMESTAMPTZ, pa.bool_(), pa.int64(), pa.float64()]
    assert [found.declared(kind) for kind in kinds] == [
        "VARCHAR2(4000 CHAR)", "BLOB", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "NUMBER(1, 0)", "NUMBER(19, 0)",
        "BINARY_DOUBLE",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [JSON, pa.time64("us"), pa.list_(pa.int64()), pa.month_day_nano_interval()])
def test_what_oracle_has_no_type_for_is_refused(kind: pa.DataType) -> None:
    with pytest.raises(LossyWrite, match="oracle has no type for"):
        dialect("oracle").declared(kind)


@pytest.mark.parametrize(
    ("name", "kind", "wanted"),
    [
        ("mssql", mssql.DATETIMEOFFSET(), TIMESTAMPTZ),
        ("mssql", mssql.DATETIME2(), TIMESTAMP),
        ("mssql", mssql.MONEY(), pa.decimal128(19, 4)),
        ("mssql", mssql.BIT(), pa.bool_()),
        ("mssql", mssql.UNIQUEIDENTIFIER(), pa.string()),
        ("mssql", mssql.VARBINARY("max"), pa.binary()),
        ("oracle", oracle.DATE(), TIMESTAMP),
        ("oracle", oracle.TIMESTAMP(timezone=True), TIMESTAMPTZ),
        ("oracle", NUMBER(1, 0), pa.bool_()),
        ("oracle", NUMBER(12, 2), pa.decimal128(12, 2)),
        ("oracle", oracle.VARCHAR2(20), pa.string()),
        ("oracle", oracle.RAW(16), pa.binary()),
        ("mysql", mysql.TINYINT(display_width=1), pa.bool_()),
        ("mysql", mysql.TINYINT(), pa.int64()),
    ],
)
def test_a_column_that_is_there_is_read_in_the_type_that_holds_it(
    name: str, kind: sa.types.TypeEngine[Any], wanted: pa.DataType
) -> None:
    assert dialect(name).canonical(kind) == wanted


def test_names_in_small_letters_are_oracles_own() -> None:
    found = dialect("oracle")
    assert [found.quoted(name) for name in ("orders", "Orders", "date", "_x")] == ['"ORDERS"', '"Orders"', '"date"', '"_x"']
    assert found.quoted(sa.sql.quoted_name("orders", True)) == '"orders"'
    assert dialect("mssql").quoted("a]b") == "[a]]b]"


def test_moments_are_written_so_that_no_setting_of_a_session_changes_them() -> None:
    server, other = dialect("mssql"), dialect("oracle")
    assert server.moment("2025-01-01 00:00:00+00", TIMESTAMPTZ) == "CAST(N'2025-01-01 00:00:00+00:00' AS DATETIMEOFFSET(6))"
    assert server.moment("2025-01-01", pa.date32()) == "CAST(N'2025-01-01' AS DATE)"
    assert other.moment("2025-01-01 00:00:00.5", TIMESTAMP) == "TIMESTAMP '2025-01-01 00:00:00.5'"
    assert other.moment("2025-01-01 00:00:00+00", TIMESTAMPTZ) == "TIMESTAMP '2025-01-01 00:00:00 +00:00'"
    assert other.moment("2025-01-01", pa.date32()) == "DATE '2025-01-01'"
    batch = pa.RecordBatch.from_arrays([pa.array([1_500_000, None]).cast(TIMESTAMPTZ)], names=["at"])
    assert server.sent(batch).column(0).to_pylist() == ["1970-01-01 00:00:01.5+00:00", None]


def test_a_number_that_is_no_truth_is_told() -> None:
    column, field = TableColumn("ok", "NUMBER(1, 0)", pa.bool_()), pa.field("ok", pa.bool_())
    session = object.__new__(SqlSession)
    found, bad = session.convert(column, pa.array([1, 0, None, 5]), field)
    assert found.to_pylist() == [True, False, None, None]
    assert bad is not None
    assert bad.to_pylist() == [False, False, False, True]


def test_a_number_with_more_digits_than_its_column_is_told_and_not_rounded() -> None:
    column, field = TableColumn("n", "NUMBER", pa.decimal128(38, 9)), pa.field("n", pa.decimal128(38, 9))
    given = pa.array([Decimal("1.5"), Decimal("1.123456789012"), None])
    found, bad = object.__new__(SqlSession).convert(column, given, field)
    assert found[0].as_py() == Decimal("1.5")
    assert bad is not None
    assert bad.to_pylist() == [False, True, False]


@pytest.mark.parametrize("allowed", [False, True])
def test_a_text_without_letters_is_refused_where_it_would_become_null(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    monkeypatch.setattr(SqlDialect, "empty_is_null", True)
    system = made("sql on sqlite", tmp_path, request)
    schema = pa.schema([("n", pa.int64()), ("a", pa.string()), ("b", pa.string())])
    sink = system.sink(table="t", **({"empty_text": "null"} if allowed else {}))
    wanted = system.request(schema, mode="merge", key=["n"])
    sink.prepare(wanted)
    writer = sink.open(wanted)
    rows = pa.table([[1, None, 3, 4, 5], ["x", "y", "", None, "z"], ["", "y", "", "y", "z"]], schema=schema)
    found = writer.write(rows.to_batches()[0])
    sink.commit(wanted, writer.close())
    assert found is not None
    told = [(each["row"], each["column"]) for each in found.to_pylist()]
    assert told == ([(1, "n")] if allowed else [(0, "b"), (1, "n"), (2, "a")])
    assert [each["n"] for each in system.rows("t")] == ([1, 3, 4, 5] if allowed else [4, 5])
