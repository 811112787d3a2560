"""What SQL Server spells in its own way, and the types of its own that keep what ours hold."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.component.database import TableName
from beam_datahub.io.sql.connection import SqlDialect
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ
from beam_datahub.kernels.workbench import over

if TYPE_CHECKING:
    import sqlalchemy as sa


class SqlServerDialect(SqlDialect):
    """SQL Server, from 2016 on."""

    merges_in_place = True
    # One of its clients cuts moments to milliseconds; as texts they arrive whole.
    native = frozenset({"bool", "decimal"})

    def kind(self, data_type: pa.DataType) -> sa.types.TypeEngine[Any] | None:
        # SQLAlchemy has no annotations there.
        mssql: Any = importlib.import_module("sqlalchemy.dialects.mssql")
        found: dict[pa.DataType, sa.types.TypeEngine[Any]] = {
            # Plain VARCHAR has the letters of one code page only, TEXT cannot be compared.
            pa.string(): mssql.NVARCHAR(None),
            JSON: mssql.NVARCHAR(None),
            pa.binary(): mssql.VARBINARY("max"),
            pa.float32(): mssql.REAL(),
            pa.date32(): mssql.DATE(),
            pa.time64("us"): mssql.TIME(6),
            # DATETIME has steps of 3⅓ milliseconds.
            TIMESTAMP: mssql.DATETIME2(6),
            TIMESTAMPTZ: mssql.DATETIMEOFFSET(6),
        }
        if pa.types.is_nested(data_type):
            return found[JSON]
        return found.get(data_type) or super().kind(data_type)

    def canonical(self, kind: sa.types.TypeEngine[Any]) -> pa.DataType:
        from sqlalchemy.dialects import mssql

        known: tuple[tuple[type, pa.DataType], ...] = (
            (mssql.DATETIMEOFFSET, TIMESTAMPTZ),
            (mssql.MONEY, pa.decimal128(19, 4)),
            (mssql.SMALLMONEY, pa.decimal128(10, 4)),
        )
        return next((found for each, found in known if isinstance(kind, each)), super().canonical(kind))

    def sent(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [_with_minutes(column) if column.type == TIMESTAMPTZ else column for column in batch.columns]
        return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)

    def key_kind(self) -> sa.types.TypeEngine[Any]:
        from sqlalchemy.dialects import mssql

        # An index has 900 bytes, and this takes 2 of them for a letter. Most collations take `a` for `A`.
        return mssql.NVARCHAR(255, collation="Latin1_General_100_BIN2")

    def as_text(self, value: str) -> str:
        # Whatever the collation, texts are not the same that differ in case or in blanks at their ends.
        return f"CAST(CAST({value} AS NVARCHAR(max)) AS VARBINARY(max))"

    def text(self, length: int) -> str:
        return f"NVARCHAR({length})"

    def literal(self, text: str) -> str:
        return "N" + super().literal(text)

    def moment(self, text: str, data_type: pa.DataType) -> str:
        return f"CAST({self.literal(_offset(text))} AS {self.declared(data_type)})"

    def moment_as(self, text: str, declared: str) -> str:
        return f"CAST({self.literal(_offset(text))} AS {declared})"

    def orders(self, data_type: pa.DataType) -> bool:
        # A column of DATETIME is rounded when it is compared: what is on the boundary could be left out.
        t = pa.types
        return bool(t.is_integer(data_type) or t.is_decimal(data_type) or t.is_date(data_type))

    def first_rows(self, count: int) -> str:
        return f"ORDER BY (SELECT NULL) OFFSET 0 ROWS FETCH FIRST {count} ROWS ONLY"

    def add_column(self, table: TableName, name: str, declared: str) -> str:
        return f"ALTER TABLE {self.table(table)} ADD {self.quoted(name)} {declared} NULL"

    def upsert(self, target: TableName, columns: Sequence[str], key: Sequence[str], select: str) -> str:
        # Without HOLDLOCK two runs could both add a key.
        return f"{merging(self, f'{self.table(target)} WITH (HOLDLOCK)', columns, key, select)};"

    def update_from(self, target: TableName, columns: Sequence[str], key: Sequence[str], source: TableName) -> str | None:
        others = [name for name in columns if name not in key] or list(key)
        changes = ", ".join(f"t.{self.quoted(name)} = s.{self.quoted(name)}" for name in others)
        joined = f"{self.table(target)} t INNER JOIN {self.table(source)} s ON {self.same(key, 't.', 's.')}"
        return f"UPDATE t SET {changes} FROM {joined}"


def merging(dialect: SqlDialect, target: str, columns: Sequence[str], key: Sequence[str], select: str) -> str:
    """A MERGE that changes the rows of a query's keys and adds the others."""
    others = [name for name in columns if name not in key]
    changes = ", ".join(f"t.{dialect.quoted(name)} = s.{dialect.quoted(name)}" for name in others)
    matched = f"WHEN MATCHED THEN UPDATE SET {changes} " if others else ""
    return (
        f"MERGE INTO {target} t USING ({select}) s ON ({dialect.same(key, 't.', 's.')}) {matched}"
        f"WHEN NOT MATCHED THEN INSERT ({dialect.names(columns)}) VALUES ({dialect.names(columns, 's.')})"
    )


def _with_minutes(moments: pa.Array) -> pa.Array:
    """Moments as texts whose offsets have minutes."""
    found = over(pa.table({"c": moments}), "SELECT CAST(c AS VARCHAR) || ':00' AS c FROM t").column(0)
    return found.combine_chunks() if found.num_chunks != 1 else found.chunk(0)


def _offset(text: str) -> str:
    """A moment whose offset has minutes, which SQL Server wants."""
    return text + ":00" if len(text) > 10 and text[-3] in "+-" else text
