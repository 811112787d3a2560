"""One connection to PostgreSQL: psycopg for statements and for COPY in, ADBC for rows that leave as Arrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.arrow_blocks import fit_array
from beam_datahub.component.database import Relation, RowsRefused, Session, TableColumn, TableName
from beam_datahub.component.database_source import Range
from beam_datahub.errors import DataHubError, UnreadableData
from beam_datahub.io.postgresql.arrays import csv_form, settled
from beam_datahub.io.postgresql.binary import binary_form
from beam_datahub.io.postgresql.dialect import PostgresqlDialect
from beam_datahub.io.postgresql.types import Catalogue, as_decimal, select_item

# Dates and intervals as texts that the server reads again whatever the role's own settings are.
_SETTINGS = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'"
_COLUMN = re.compile(r"COPY .*, line \d+, column ([^:]+)")
# How long a server may take to hear that we wait no longer.
_CANCEL_SECONDS = 5.0

Meaning = Callable[[str, str | None, str | None], DataHubError | RowsRefused]


class PostgresqlSession(Session):
    """A psycopg connection, and an ADBC one once rows are read."""

    dialect = PostgresqlDialect()

    def __init__(
        self, conninfo: str, lock_timeout_seconds: int, meaning: Meaning, statement_timeout_seconds: int | None = None
    ) -> None:
        import psycopg

        self._conninfo, self._meaning = conninfo, meaning
        self._settings = f"{_SETTINGS}; SET lock_timeout = '{lock_timeout_seconds}s'"
        if statement_timeout_seconds is not None:
            self._settings += f"; SET statement_timeout = '{statement_timeout_seconds}s'"
        self._arrow: Any = None
        self._catalogue: Catalogue | None = None
        with self.telling():
            self._connection = psycopg.connect(conninfo, autocommit=True)
            self._connection.execute(self._settings)

    def failure(self, error: Exception) -> Exception | None:
        import psycopg
        from adbc_driver_manager import Error

        if isinstance(error, psycopg.Error):
            if self._connection_lost(error):
                self.broken = True
            diag = error.diag
            found = _COLUMN.search(diag.context or "")
            column = diag.column_name or (found[1] if found else None)
            return self._meaning(diag.message_primary or str(error), error.sqlstate, column)
        if isinstance(error, Error):
            return self._meaning(str(error), error.sqlstate, None)
        if isinstance(error, (pa.ArrowException, OSError)) and "libpq" in str(error):
            # Errors in mid-stream come as text: the driver has no other way through Arrow's interface.
            found = re.search(r"SQLSTATE:? (\w{5})", str(error))
            return self._meaning(str(error), found[1] if found else None, None)
        return None

    def _connection_lost(self, error: Exception) -> bool:
        connection = getattr(self, "_connection", None)
        return connection is None or bool(connection.closed or connection.broken)

    def _execute(self, sql: str) -> int:
        # Without values, psycopg leaves the text as it is.
        return int(self._connection.execute(sql.encode()).rowcount)

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.encode()).fetchall()

    def close(self) -> None:
        for connection in (self._arrow, getattr(self, "_connection", None)):
            try:
                if connection is not None:
                    connection.close()
            except Exception:
                self.broken = True
        self._arrow = None

    def interrupt(self) -> None:
        try:
            if self._arrow is not None:
                self._arrow.adbc_cancel()
            self._connection.cancel_safe(timeout=_CANCEL_SECONDS)
        except Exception:
            self.broken = True

    # what is there

    @property
    def catalogue(self) -> Catalogue:
        """The server's types."""
        if self._catalogue is None:
            self._catalogue = Catalogue(self.fetch)
        return self._catalogue

    def _oid(self, table: TableName) -> int | None:
        found = self.fetch(f"SELECT to_regclass({self.dialect.literal(self.dialect.table(table))})::oid::bigint")
        return found[0][0] if found and found[0][0] is not None else None

    def columns(self, table: TableName) -> tuple[TableColumn, ...] | None:
        oid = self._oid(table)
        if oid is None:
            return None
        rows = self.fetch(
            "SELECT attname, atttypid::bigint, atttypmod, attnotnull, atthasdef OR attidentity <> '', attgenerated <> '' "
            f"FROM pg_attribute WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
        found = []
        for name, type_oid, modifier, required, filled, computed in rows:
            column = self.catalogue.column(name, type_oid, modifier)
            found.append(
                TableColumn(name, column.declared, column.type, not required, filled and not computed, computed, column.detail)
            )
        return tuple(found)

    def tables(self, beside: TableName, prefix: str) -> list[TableName]:
        text = self.dialect.literal
        schema = text(beside.schema) if beside.schema is not None else "ANY (current_schemas(false))"
        rows = self.fetch(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            f"WHERE relkind = 'r' AND nspname = {schema} AND starts_with(relname, {text(prefix)}) ORDER BY 1"
        )
        return [beside.beside(name) for (name,) in rows]

    def listed(self, schema: str | None) -> list[TableName]:
        # A table in partitions is one table.
        where = self.dialect.literal(schema) if schema is not None else "ANY (current_schemas(false))"
        rows = self.fetch(
            "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') "
            f"AND NOT relispartition AND nspname = {where} AND relname !~ '^_(dh|beam_datahub)_' ORDER BY 1"
        )
        return [TableName(name, schema) for (name,) in rows]

    def unique_keys(self, table: TableName) -> list[frozenset[str]]:
        oid = self._oid(table)
        if oid is None:
            return []
        rows = self.fetch(
            "SELECT array_agg(attname::text) FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey) "
            f"WHERE indrelid = {oid} AND indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL "
            "GROUP BY indexrelid, indisprimary, indnatts, indnkeyatts HAVING indnatts = indnkeyatts ORDER BY indisprimary DESC"
        )
        return [frozenset(names) for (names,) in rows]

    def clear(self, table: TableName) -> None:
        # TRUNCATE is quick and keeps views, grants and indices; it refuses a table that others refer to.
        referred = self.fetch(
            f"SELECT EXISTS (SELECT 1 FROM pg_constraint WHERE contype = 'f' AND confrelid = {self._oid(table)} "
            "AND conrelid <> confrelid)"
        )[0][0]
        self.execute(f"{'DELETE FROM' if referred else 'TRUNCATE'} {self.dialect.table(table)}")

    def load(self, table: TableName, columns: Sequence[TableColumn], batch: pa.RecordBatch) -> None:
        parts: Iterator[bytes | memoryview] | None = binary_form(columns, batch)
        form = "csv" if parts is None else "binary"
        names = self.dialect.names([column.name for column in columns])
        statement = f"COPY {self.dialect.table(table)} ({names}) FROM STDIN (FORMAT {form})"
        with self.telling(refused=None), self._connection.cursor().copy(statement.encode()) as copy:
            for part in parts or csv_form(batch):
                copy.write(part)

    # rows

    def describe(self, relation: Relation) -> tuple[TableColumn, ...]:
        with self.telling():
            cursor = self._connection.execute(f"SELECT * FROM {relation.sql(self.dialect)} LIMIT 0".encode())
            result = cursor.pgresult
            assert result is not None
            facts = [((result.fname(i) or b"").decode(), result.ftype(i), result.fmod(i)) for i in range(result.nfields)]
        found = [self.catalogue.column(name, oid, modifier) for name, oid, modifier in facts]
        return tuple(self.catalogue.sized(column, relation, self.dialect, self.fetch) for column in found)

    def size(self, relation: Relation) -> tuple[int | None, int | None]:
        if relation.table is None:
            return None, None
        rows = self.fetch(
            "SELECT sum(greatest(reltuples, 0))::bigint, sum(pg_table_size(oid))::bigint, bool_and(relkind IN ('r', 'm', 'p')), "
            "bool_or(reltuples >= 0) FROM pg_class WHERE oid IN (SELECT relid FROM pg_partition_tree"
            f"({self._oid(relation.table)})) OR oid = {self._oid(relation.table)}"
        )
        count, size, stored, known = rows[0]
        return (count if known else None, size) if stored else (None, None)

    def stream(
        self, columns: Sequence[TableColumn], relation: Relation, where: Sequence[str], limit: int | None, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        items = ", ".join(select_item(column, self.dialect) for column in columns)
        conditions = f" WHERE {' AND '.join(f'({each})' for each in where)}" if where else ""
        limited = f" LIMIT {limit}" if limit is not None else ""
        with self.telling(refused=UnreadableData), self.arrow().cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(batch_bytes)})
            cursor.execute(f"SELECT {items} FROM {relation.sql(self.dialect)}{conditions}{limited}")
            reader = cursor.fetch_record_batch()
            try:
                for batch in reader:
                    if batch.num_rows:
                        yield settled(batch)
            except GeneratorExit:
                # The server would go on sending: only closing the connection stops it.
                self.broken = True
                raise

    def convert(self, column: TableColumn, array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
        if column.detail == "numeric" and pa.types.is_decimal(field.type):
            return as_decimal(array, field.type)
        if array.type == pa.time64("us"):
            # 24:00 is a time there, and none of Arrow's.
            late = pc.greater_equal(array.view(pa.int64()), 86_400_000_000)
            if pc.any(late, min_count=0).as_py():
                return fit_array(pc.if_else(late, pa.scalar(None, array.type), array), field.type)[0], late
        return super().convert(column, array, field)

    def arrow(self) -> Any:
        """The ADBC connection."""
        import adbc_driver_postgresql.dbapi

        if self._arrow is None:
            with self.telling():
                self._arrow = adbc_driver_postgresql.dbapi.connect(self._conninfo, autocommit=True)
                for statement in self._settings.split("; "):
                    self.tell_arrow(statement)
        return self._arrow

    def tell_arrow(self, sql: str) -> None:
        """Run a statement on the ADBC connection."""
        with self.telling(), self.arrow().cursor() as cursor:
            cursor.execute(sql)

    def enter(self, part: Range) -> None:
        """See what the snapshot of a split sees."""
        self.tell_arrow("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.tell_arrow(f"SET TRANSACTION SNAPSHOT {self.dialect.literal(part.snapshot or '')}")
