"""MySQL's SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa

from beam_datahub.component.database import TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.errors import LossyWrite
from beam_datahub.io.mysql.types import ColumnDetail

_SUFFIX = " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4"
_EXACT = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"


class MysqlDialect(Dialect):
    """MySQL 5.7 and later, MariaDB 10.3 and later, in the SQL mode that our sessions set."""

    types: ClassVar[dict[str, str]] = {
        "BOOLEAN": "tinyint(1)",
        "TINYINT": "tinyint",
        "SMALLINT": "smallint",
        "INTEGER": "int",
        "BIGINT": "bigint",
        "UTINYINT": "tinyint unsigned",
        "USMALLINT": "smallint unsigned",
        "UINTEGER": "int unsigned",
        "UBIGINT": "bigint unsigned",
        "FLOAT": "float",
        "DOUBLE": "double",
        "VARCHAR": "longtext",
        "BLOB": "longblob",
        "DATE": "date",
        "TIME": "time(6)",
        "TIMESTAMP": "datetime(6)",
        "TIMESTAMPTZ": "timestamp(6)",
        "JSON": "json",
    }
    true, false = "1", "0"
    transactional_ddl = False
    upserts_any_key = True

    def quoted(self, name: str) -> str:
        return "`" + name.replace("`", "``") + "`"

    def literal(self, text: str) -> str:
        return super().literal(text.replace("\\", "\\\\"))

    def having(self, keys: Sequence[tuple[TableColumn, Sequence[str]]]) -> str:
        return super().having(keys) if len(keys) == 1 else self.rows_among(keys)

    def decimal(self, precision: int, scale: int) -> str:
        if scale > 30:
            raise LossyWrite(f"decimals have at most 30 digits behind the point, not {scale}", hint="cast it to text")
        return f"decimal({precision},{scale})"

    def moment(self, text: str, data_type: pa.DataType) -> str:
        # Our sessions are in UTC, and MariaDB reads no offset.
        return self.literal(re.sub(r"[+-]00(:00)?$", "", text))

    def keyed(self, data_type: pa.DataType) -> str:
        # Keys have an end, and tell `a` from `A`.
        if data_type == pa.string():
            return f"varchar(255) {_EXACT}"
        return "varbinary(255)" if pa.types.is_binary(data_type) else self.declared(data_type)

    def create(self, table: TableName, columns: Sequence[tuple[str, str]], key: Sequence[str] = (), extra: str = "") -> str:
        # Older servers give the first timestamp of a table a default of their own.
        spelt = [
            (name, f"{kind} NULL" if kind.startswith("timestamp") and "NOT NULL" not in kind and name not in key else kind)
            for name, kind in columns
        ]
        return super().create(table, spelt, key, extra) + _SUFFIX

    def create_ledger(self, table: TableName) -> str:
        return super().create_ledger(table) + f" ENGINE=InnoDB DEFAULT {_EXACT}"

    def create_staging(
        self, staging: TableName, target: TableName | None, columns: Sequence[TableColumn], checks: Sequence[str]
    ) -> list[str]:
        # With the collation of the target's texts, so that keys are the same here and there.
        spelt = []
        for each in columns:
            collation = each.detail.collation if isinstance(each.detail, ColumnDetail) else None
            kind = each.declared + (f" COLLATE {collation}" if collation is not None else "")
            spelt.append((each.name, kind + ("" if each.nullable else " NOT NULL")))
        names = {each.name.casefold() for each in columns}
        known = [check for check in checks if {name.casefold() for name in re.findall(r"`([^`]+)`", check)} <= names]
        return [self.create(staging, spelt, extra="".join(f", CHECK ({check})" for check in known))]

    def create_scratch(self, table: TableName, columns: Sequence[TableColumn], key: Sequence[str] = ()) -> list[str]:
        (create,) = self.create_staging(table, None, columns, ())
        declared = {each.name: each.declared for each in columns}
        if not key or any(re.search("text|blob|json|geometry", declared[name]) for name in key):
            return [create]
        return [create, f"ALTER TABLE {self.table(table)} ADD INDEX ({self.names(key)})"]

    def widen_column(self, table: TableName, name: str, declared: str) -> str | None:
        return f"ALTER TABLE {self.table(table)} MODIFY COLUMN {self.quoted(name)} {declared}"

    def count_of_keys(self, key: Sequence[str]) -> str | None:
        return f"count(DISTINCT {self.names(key)})"

    def as_text(self, value: str) -> str:
        return f"CAST({value} AS BINARY)"

    def moment_as(self, text: str, declared: str) -> str:
        # CAST has names of its own for types; here the column's type is told by where the value goes.
        return f"TIMESTAMP({self.literal(text)})"

    def upsert(self, target: TableName, columns: Sequence[str], key: Sequence[str], select: str) -> str:
        others = [name for name in columns if name not in key] or list(key)
        action = ", ".join(f"{self.quoted(name)} = VALUES({self.quoted(name)})" for name in others)
        return f"{self.insert(target, columns, select)} ON DUPLICATE KEY UPDATE {action}"

    def update_from(self, target: TableName, columns: Sequence[str], key: Sequence[str], source: TableName) -> str | None:
        others = [name for name in columns if name not in key]
        changes = ", ".join(f"t.{self.quoted(name)} = s.{self.quoted(name)}" for name in others or key)
        joined = f"{self.table(target)} t JOIN {self.table(source)} s ON {self.same(key, 't.', 's.')}"
        return f"UPDATE {joined} SET {changes}"

    def delete_matching(self, target: TableName, key: Sequence[str], source: TableName, condition: str | None = None) -> str:
        return self.delete_joined(target, key, source, condition)
