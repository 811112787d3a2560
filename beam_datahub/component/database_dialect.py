"""How a database spells what a destination asks of it; the defaults are standard SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import ClassVar

import pyarrow as pa

from beam_datahub.component.database import TableColumn, TableName
from beam_datahub.errors import LossyWrite
from beam_datahub.kernels.types import JSON, sql_type

LEDGER = "_beam_datahub_ledger"


class Dialect:
    """The SQL of one system; it has no state."""

    types: ClassVar[dict[str, str]] = {}
    """DuckDB's name of a type → the name here; a DECIMAL, a list, a struct and a map have methods."""
    decimal_digits = 38
    merges_in_place = True
    """Whether INSERT … ON CONFLICT (key) DO UPDATE is known."""
    tells_twice = False
    """Whether that statement fails where a key comes twice in it."""
    upserts_any_key = False
    """Whether it goes by any unique key that a row meets, not by the named one alone."""
    true = "true"
    """How truth is written."""
    false = "false"
    keys_at_once = 10_000
    """How many keys one query is given at most."""
    transactional_ddl = True
    """Whether tables made, changed and dropped in a transaction come and go with it."""

    def quoted(self, name: str) -> str:
        """A name as an identifier, its case kept."""
        return '"' + name.replace('"', '""') + '"'

    def literal(self, text: str) -> str:
        """A text as a literal."""
        return "'" + text.replace("'", "''") + "'"

    def table(self, table: TableName) -> str:
        """A table's name in a statement."""
        names = [table.name] if table.schema is None else [table.schema, table.name]
        return ".".join(map(self.quoted, names))

    def names(self, columns: Sequence[str], prefix: str = "") -> str:
        """Columns, quoted, with commas between."""
        return ", ".join(prefix + self.quoted(name) for name in columns)

    # types

    def declared(self, data_type: pa.DataType) -> str:
        """The type of a new column that keeps every value of a canonical type. Raises LossyWrite where there is none."""
        name = sql_type(data_type)
        if pa.types.is_decimal(data_type):
            return self.decimal(data_type.precision, data_type.scale)
        if pa.types.is_nested(data_type):
            return self.nested(data_type)
        if name not in self.types:
            raise LossyWrite(f"there is no type for {name}", hint="cast it to text")
        return self.types[name]

    def decimal(self, precision: int, scale: int) -> str:
        """The type of exact decimals."""
        if precision > self.decimal_digits:
            raise LossyWrite(f"decimals have at most {self.decimal_digits} digits, not {precision}", hint="cast it to text")
        return f"DECIMAL({precision},{scale})"

    def nested(self, data_type: pa.DataType) -> str:
        """The type of lists, structs and maps; JSON where the system has nothing closer."""
        return self.types["JSON"]

    def orders(self, data_type: pa.DataType) -> bool:
        """Whether the database compares values of a type as DuckDB does; texts depend on its collation."""
        t = pa.types
        return bool(t.is_integer(data_type) or t.is_decimal(data_type) or t.is_date(data_type) or t.is_timestamp(data_type))

    def asks_by(self, data_type: pa.DataType) -> bool:
        """Whether rows can be found by values of a type: equal for DuckDB means equal for the database, which may find more."""
        return self.orders(data_type) or data_type == pa.string()

    def having(self, keys: Sequence[tuple[TableColumn, Sequence[str]]]) -> str:
        """The condition that a row has one of the keys; each column comes with its value in each key, as DuckDB's text."""
        if len(keys) == 1:
            column, texts = keys[0]
            return f"{self.asked(column)} IN ({', '.join(self.key_value(text, column.type) for text in texts)})"
        names = [self.asked(column) for column, _ in keys]
        same = (" AND ".join(f"{name} = {value}" for name, value in zip(names, row, strict=True)) for row in self._values(keys))
        return " OR ".join(f"({each})" for each in same)

    def rows_among(self, keys: Sequence[tuple[TableColumn, Sequence[str]]], values: str = "") -> str:
        """`having` for systems that compare whole rows; `values` is the word before theirs."""
        names = ", ".join(self.asked(column) for column, _ in keys)
        rows = (f"({', '.join(row)})" for row in self._values(keys))
        return f"({names}) IN ({values}{', '.join(rows)})"

    def _values(self, keys: Sequence[tuple[TableColumn, Sequence[str]]]) -> Iterator[tuple[str, ...]]:
        return zip(*([self.key_value(text, column.type) for text in texts] for column, texts in keys), strict=True)

    def asked(self, column: TableColumn) -> str:
        """A column as it is compared with keys."""
        return self.quoted(column.name)

    def key_value(self, text: str, data_type: pa.DataType) -> str:
        """A key's value, given in DuckDB's text, as a literal."""
        if pa.types.is_integer(data_type) or pa.types.is_decimal(data_type):
            return text
        return self.literal(text) if data_type == pa.string() else self.moment(text, data_type)

    def moment(self, text: str, data_type: pa.DataType) -> str:
        """A date or a moment, given in DuckDB's text, as a literal."""
        return self.literal(text)

    def moment_as(self, text: str, declared: str) -> str:
        """A moment, given in DuckDB's text, as a value of a column's type."""
        return f"CAST({self.literal(text)} AS {declared})"

    def same_number(self, column: TableColumn, value: Decimal) -> str:
        """A condition that a column of numbers has this value."""
        return f"{self.quoted(column.name)} = {value:f}"

    def keyed(self, data_type: pa.DataType) -> str:
        """The type of a new column that is in a key: some systems index no text of any length."""
        return self.declared(data_type)

    # tables

    def create(self, table: TableName, columns: Sequence[tuple[str, str]], key: Sequence[str] = (), extra: str = "") -> str:
        """Make a table; `extra` stands behind its columns."""
        parts = [f"{self.quoted(name)} {declared}" for name, declared in columns]
        if key:
            parts.append(f"PRIMARY KEY ({self.names(key)})")
        return f"CREATE TABLE {self.table(table)} ({', '.join(parts)}{extra})"

    def create_scratch(self, table: TableName, columns: Sequence[TableColumn], key: Sequence[str] = ()) -> list[str]:
        """Make a table that publishing needs for a while; its rows are found by `key`, where that is of use."""
        return self.create_staging(table, None, columns, ())

    def analyse(self, table: TableName) -> str | None:
        """Have the database look at what is in a table; None where it does so by itself, or plans without."""
        return None

    def lock(self, table: TableName) -> str | None:
        """Keep others from writing a table until the transaction ends; None where they are kept out, or fail."""
        return None

    def create_ledger(self, table: TableName) -> str:
        """Make the table of what runs began and published."""
        text, moment = self.text(200), self.text(40)
        columns = (
            f"run_id {text} NOT NULL, step {text} NOT NULL, target {self.text(400)} NOT NULL, staging {moment} NOT NULL, "
            f"owner {self.text(1000)} NOT NULL, begun_at {moment} NOT NULL, committed_at {moment}, row_count BIGINT, "
            "PRIMARY KEY (run_id, step)"
        )
        return f"CREATE TABLE {self.table(table)} ({columns})"

    def text(self, length: int) -> str:
        """The type of short text."""
        return f"VARCHAR({length})"

    def create_staging(
        self, staging: TableName, target: TableName | None, columns: Sequence[TableColumn], checks: Sequence[str]
    ) -> list[str]:
        """Make the table that a bundle is staged in: the written columns as the target has them, with its checks.

        `target` is None where it is not there yet.
        """
        types = [(each.name, each.declared + ("" if each.nullable else " NOT NULL")) for each in columns]
        return [self.create(staging, types, extra="".join(f", CHECK ({check})" for check in checks))]

    def rename(self, table: TableName, name: str) -> str | None:
        """Give a table another name in its schema; None where that is not part of a transaction, or not known."""
        return f"ALTER TABLE {self.table(table)} RENAME TO {self.quoted(name)}" if self.transactional_ddl else None

    def drop(self, table: TableName) -> str:
        """Remove a table, if it is there."""
        return f"DROP TABLE IF EXISTS {self.table(table)}"

    def add_column(self, table: TableName, name: str, declared: str) -> str:
        """Give a table another column, without a value in the rows that are there."""
        return f"ALTER TABLE {self.table(table)} ADD COLUMN {self.quoted(name)} {declared}"

    def widen_column(self, table: TableName, name: str, declared: str) -> str | None:
        """Give a column a type that holds more; None where the system cannot."""
        return f"ALTER TABLE {self.table(table)} ALTER COLUMN {self.quoted(name)} TYPE {declared}"

    # rows

    def first_rows(self, count: int) -> str:
        """What ends a query that gives only its first rows."""
        return f"LIMIT {count}"

    def count_of_keys(self, key: Sequence[str]) -> str | None:
        """What counts the keys of a table, or fewer, where that is faster than grouping by them."""
        return None

    def comparable(self, name: str) -> str:
        """A column in a form by which rows can be ordered, whatever its type."""
        return self.as_text(self.quoted(name))

    def as_text(self, value: str) -> str:
        """A value of any type as text, or as what is compared like it."""
        return f"CAST({value} AS {self.types['VARCHAR']})"

    def differs(self, left: str, right: str, data_type: pa.DataType) -> str:
        """1 where two values of a column differ, 0 where they are the same, or both missing."""
        if data_type in (pa.string(), JSON) or pa.types.is_nested(data_type):
            # As texts: collations may tell less apart, and some types know no equality.
            left, right = self.as_text(left), self.as_text(right)
        return f"CASE WHEN {left} = {right} OR ({left} IS NULL AND {right} IS NULL) THEN 0 ELSE 1 END"

    def insert(self, target: TableName, columns: Sequence[str], select: str) -> str:
        """Add the rows of a query."""
        return f"INSERT INTO {self.table(target)} ({self.names(columns)}) {select}"

    def upsert(self, target: TableName, columns: Sequence[str], key: Sequence[str], select: str) -> str:
        """Add the rows of a query that has a WHERE, in place of those with the same key; the key is unique in the target."""
        others = [name for name in columns if name not in key]
        action = ", ".join(f"{self.quoted(name)} = excluded.{self.quoted(name)}" for name in others)
        conflict = f"DO UPDATE SET {action}" if others else "DO NOTHING"
        return self.insert(target, columns, f"{select} ON CONFLICT ({self.names(key)}) {conflict}")

    def update_from(self, target: TableName, columns: Sequence[str], key: Sequence[str], source: TableName) -> str | None:
        """Change the rows whose key a table has, to its values; None where the system has no such statement."""
        others = [name for name in columns if name not in key]
        changes = ", ".join(f"{self.quoted(name)} = s.{self.quoted(name)}" for name in others or key)
        table = self.table(target)
        return f"UPDATE {table} SET {changes} FROM {self.table(source)} s WHERE {self.same(key, f'{table}.', 's.')}"

    def delete_matching(self, target: TableName, key: Sequence[str], source: TableName, condition: str | None = None) -> str:
        """Remove the rows whose key a table has, in a row that meets a condition on its columns, which begins with a column."""
        same = self.same(key, f"{self.table(target)}.", "s.")
        met = "" if condition is None else f" AND s.{condition}"
        return f"DELETE FROM {self.table(target)} WHERE EXISTS (SELECT 1 FROM {self.table(source)} s WHERE {same}{met})"

    def delete_joined(self, target: TableName, key: Sequence[str], source: TableName, condition: str | None) -> str:
        """The same as MySQL has to be told it: for keys that are a table of their own it makes an index by itself, where the
        target has none.
        """
        met = "" if condition is None else f" WHERE {condition}"
        keys = f"(SELECT DISTINCT {self.names(key)} FROM {self.table(source)}{met}) s"
        return f"DELETE t FROM {self.table(target)} t JOIN {keys} ON {self.same(key, 't.', 's.')}"

    def same(self, key: Sequence[str], left: str, right: str) -> str:
        """A condition that two rows have the same key."""
        return " AND ".join(f"{left}{self.quoted(name)} = {right}{self.quoted(name)}" for name in key)
