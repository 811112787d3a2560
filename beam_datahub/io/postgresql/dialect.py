"""PostgreSQL's SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from beam_datahub.component.database import TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_shape import WIDENED
from beam_datahub.kernels.types import TIMESTAMP, TIMESTAMPTZ

# As the server writes them: a key that is spelt otherwise is another text.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_ARRAYS: dict[pa.DataType, str] = {
    pa.int16(): "int2[]",
    pa.int32(): "int4[]",
    pa.int64(): "int8[]",
    pa.date32(): "date[]",
    TIMESTAMP: "timestamp[]",
    TIMESTAMPTZ: "timestamptz[]",
}


class PostgresqlDialect(Dialect):
    """PostgreSQL 12 and later."""

    tells_twice = True

    types: ClassVar[dict[str, str]] = {
        "BOOLEAN": "boolean",
        "TINYINT": "smallint",
        "SMALLINT": "smallint",
        "INTEGER": "integer",
        "BIGINT": "bigint",
        "UTINYINT": "smallint",
        "USMALLINT": "integer",
        "UINTEGER": "bigint",
        "UBIGINT": "numeric(20,0)",
        "FLOAT": "real",
        "DOUBLE": "double precision",
        "VARCHAR": "text",
        "BLOB": "bytea",
        "DATE": "date",
        "TIME": "time",
        "TIMESTAMP": "timestamp",
        "TIMESTAMPTZ": "timestamptz",
        "INTERVAL": "interval",
        "JSON": "jsonb",
    }

    def decimal(self, precision: int, scale: int) -> str:
        return f"numeric({precision},{scale})"

    def nested(self, data_type: pa.DataType) -> str:
        # An array of arrays must not be ragged there; JSON may.
        if pa.types.is_list(data_type) and not pa.types.is_nested(data_type.value_type):
            return self.declared(data_type.value_type) + "[]"
        return self.types["JSON"]

    def text(self, length: int) -> str:
        return "text"

    def having(self, keys: Sequence[tuple[TableColumn, Sequence[str]]]) -> str:
        # One array a column: the server plans it as it is, however many keys there are.
        kept = [row for row in zip(*(texts for _, texts in keys), strict=True) if self._can_be(keys, row)]
        if not kept:
            return "false"
        names = [self.asked(column) for column, _ in keys]
        arrays = [f"{self._array(texts)}::{_array_type(c)}" for (c, _), texts in zip(keys, zip(*kept, strict=True), strict=True)]
        if len(keys) == 1:
            return f"{names[0]} = ANY ({arrays[0]})"
        return f"({', '.join(names)}) IN (SELECT * FROM unnest({', '.join(arrays)}))"

    def asked(self, column: TableColumn) -> str:
        # What is read as another type is compared as that, but for uuids, which have an index then.
        cast = str(column.detail) if str(column.detail).startswith("::") and column.declared != "uuid" else ""
        return self.quoted(column.name) + cast

    def _array(self, texts: Sequence[str]) -> str:
        escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
        return self.literal("{" + ",".join(f'"{text}"' for text in escaped) + "}")

    def _can_be(self, keys: Sequence[tuple[TableColumn, Sequence[str]]], row: Sequence[str]) -> bool:
        """Whether a key can be there: the server fails on a text with a NUL, and on a uuid that is none."""
        return all(
            "\0" not in text and (c.declared != "uuid" or _UUID.match(text)) for (c, _), text in zip(keys, row, strict=True)
        )

    def create_staging(
        self, staging: TableName, target: TableName | None, columns: Sequence[TableColumn], checks: Sequence[str]
    ) -> list[str]:
        if target is None:
            # It will become the target.
            create = f"CREATE TABLE {self.table(staging)}"
            listed = ", ".join(
                f"{self.quoted(each.name)} {each.declared}{'' if each.nullable else ' NOT NULL'}" for each in columns
            )
            return [f"{create} ({listed})"]
        # What is staged needs no log: a server that crashes loses it, and the commit sees that it is gone.
        create = f"CREATE UNLOGGED TABLE {self.table(staging)}"
        statements = [f"{create} (LIKE {self.table(target)} INCLUDING CONSTRAINTS)", self._loosen(staging, columns)]
        statements += [self.add_column(staging, each.name, each.declared) for each in columns if each.detail is None]
        widened = [self.widen_column(staging, each.name, each.declared) for each in columns if each.detail == WIDENED]
        return statements + widened

    def create_scratch(self, table: TableName, columns: Sequence[TableColumn], key: Sequence[str] = ()) -> list[str]:
        listed = ", ".join(f"{self.quoted(each.name)} {each.declared}" for each in columns)
        return [f"CREATE UNLOGGED TABLE {self.table(table)} ({listed})"]

    def analyse(self, table: TableName) -> str:
        return f"ANALYZE {self.table(table)}"

    def lock(self, table: TableName) -> str:
        return f"LOCK TABLE {self.table(table)} IN SHARE ROW EXCLUSIVE MODE"

    def _loosen(self, staging: TableName, columns: Sequence[TableColumn]) -> str:
        """Let the columns that are not written be null: the target gives them their values."""
        table = self.literal(self.table(staging))
        body = (
            f"DECLARE c text; BEGIN FOR c IN SELECT attname FROM pg_attribute WHERE attrelid = {table}::regclass AND attnum > 0 "
            f"AND NOT attisdropped AND attnotnull AND attname NOT IN ({', '.join(self.literal(each.name) for each in columns)}) "
            f"LOOP EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', {table}, c); END LOOP; END"
        )
        return f"DO {self.literal(body)}"

    def insert(self, target: TableName, columns: Sequence[str], select: str) -> str:
        # Values for identity columns are taken as they are given.
        return f"INSERT INTO {self.table(target)} ({self.names(columns)}) OVERRIDING SYSTEM VALUE {select}"

    def widen_column(self, table: TableName, name: str, declared: str) -> str:
        return f"ALTER TABLE {self.table(table)} ALTER COLUMN {self.quoted(name)} TYPE {declared}"


def _array_type(column: TableColumn) -> str:
    """The type of an array of keys for a column; none with a size, which would cut them."""
    if column.declared == "uuid":
        return "uuid[]"
    if column.type == pa.string():
        return "bpchar[]" if column.declared.startswith("character(") else "text[]"
    return _ARRAYS.get(column.type, "numeric[]")
