"""PostgreSQL's SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from beam_datahub.component.database import TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_shape import WIDENED


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
