"""What Oracle spells in its own way, and the types of its own that keep what ours hold."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from beam_datahub.component.database import TableName
from beam_datahub.io.sql.connection import SqlDialect
from beam_datahub.io.sql.mssql import merging
from beam_datahub.kernels.types import TIMESTAMP, TIMESTAMPTZ

if TYPE_CHECKING:
    import sqlalchemy as sa


class OracleDialect(SqlDialect):
    """Oracle, from 12.2 on: before, names had 30 letters."""

    merges_in_place = True
    empty_is_null = True

    def __init__(self, found: sa.Dialect) -> None:
        super().__init__(found)
        # BOOLEAN came with 23ai only; a number is known everywhere.
        self.true, self.false = "1", "0"

    def quoted(self, name: str) -> str:
        # A name in small letters means the one in capitals, as everywhere outside of quotes.
        exact = bool(getattr(name, "quote", False))
        there = name if exact else str(self._found.denormalize_name(name))
        return super().quoted(there)

    def kind(self, data_type: pa.DataType) -> sa.types.TypeEngine[Any] | None:
        # SQLAlchemy has no annotations there.
        oracle: Any = importlib.import_module("sqlalchemy.dialects.oracle")
        t = pa.types
        if t.is_nested(data_type) or t.is_time(data_type) or isinstance(data_type, pa.BaseExtensionType):
            return None
        found: dict[pa.DataType, sa.types.TypeEngine[Any]] = {
            pa.bool_(): oracle.NUMBER(1, 0),
            pa.int8(): oracle.NUMBER(3, 0),
            pa.uint8(): oracle.NUMBER(3, 0),
            pa.int16(): oracle.NUMBER(5, 0),
            pa.uint16(): oracle.NUMBER(5, 0),
            pa.int32(): oracle.NUMBER(10, 0),
            pa.uint32(): oracle.NUMBER(10, 0),
            pa.int64(): oracle.NUMBER(19, 0),
            pa.uint64(): oracle.NUMBER(20, 0),
            pa.float32(): oracle.BINARY_FLOAT(),
            pa.float64(): oracle.BINARY_DOUBLE(),
            # A CLOB cannot be compared, ordered or be in a key.
            pa.string(): oracle.VARCHAR2(4000),
            # DATE, which SQLAlchemy would choose, has no fractions of seconds.
            TIMESTAMP: oracle.TIMESTAMP(),
            TIMESTAMPTZ: oracle.TIMESTAMP(timezone=True),
        }
        if t.is_decimal(data_type):
            return cast("sa.types.TypeEngine[Any]", oracle.NUMBER(data_type.precision, data_type.scale))
        return found.get(data_type) or super().kind(data_type)

    def canonical(self, kind: sa.types.TypeEngine[Any]) -> pa.DataType:
        # What truths are kept in; a number that is neither 0 nor 1 is then no truth.
        is_truth = getattr(kind, "precision", None) == 1 and getattr(kind, "scale", None) == 0
        return pa.bool_() if is_truth else super().canonical(kind)

    def key_kind(self) -> sa.types.TypeEngine[Any]:
        oracle: Any = importlib.import_module("sqlalchemy.dialects.oracle")
        return cast("sa.types.TypeEngine[Any]", oracle.VARCHAR2(255))

    def text(self, length: int) -> str:
        return f"VARCHAR2({length} CHAR)"

    def create_ledger(self, table: TableName) -> str:
        return super().create_ledger(table).replace(" BIGINT", " NUMBER(19)")

    def moment(self, text: str, data_type: pa.DataType) -> str:
        return _literal(text, self.declared(data_type))

    def moment_as(self, text: str, declared: str) -> str:
        return f"CAST({_literal(text, declared)} AS {declared})"

    def orders(self, data_type: pa.DataType) -> bool:
        t = pa.types
        return bool(t.is_integer(data_type) or t.is_decimal(data_type) or t.is_timestamp(data_type))

    def first_rows(self, count: int) -> str:
        return f"FETCH FIRST {count} ROWS ONLY"

    def drop(self, table: TableName) -> str:
        # IF EXISTS came with 23ai only.
        statement = super().literal(f"DROP TABLE {self.table(table)} PURGE")
        return f"BEGIN EXECUTE IMMEDIATE {statement}; EXCEPTION WHEN OTHERS THEN IF SQLCODE != -942 THEN RAISE; END IF; END;"

    def add_column(self, table: TableName, name: str, declared: str) -> str:
        return f"ALTER TABLE {self.table(table)} ADD ({self.quoted(name)} {declared})"

    def upsert(self, target: TableName, columns: Sequence[str], key: Sequence[str], select: str) -> str:
        return merging(self, self.table(target), columns, key, select)

    def update_from(self, target: TableName, columns: Sequence[str], key: Sequence[str], source: TableName) -> str | None:
        others = [name for name in columns if name not in key]
        changes = ", ".join(f"t.{self.quoted(name)} = s.{self.quoted(name)}" for name in others)
        if not changes:
            return f"UPDATE {self.table(target)} SET {self.quoted(key[0])} = {self.quoted(key[0])} WHERE 1 = 0"
        on = self.same(key, "t.", "s.")
        return f"MERGE INTO {self.table(target)} t USING {self.table(source)} s ON ({on}) WHEN MATCHED THEN UPDATE SET {changes}"


def _literal(text: str, declared: str) -> str:
    """A date or a moment as a literal that means the same whatever the session's formats are."""
    if len(text) <= 10:
        return f"DATE '{text}'"
    moment = f"{text[:-3]} {text[-3:]}:00" if text[-3] in "+-" else text
    return f"TIMESTAMP '{moment}'"
