"""One connection to MySQL: PyMySQL for statements, and rows in and out, many at a time."""

from __future__ import annotations

import functools
import re
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from beam_datahub.component.database import Relation, RowsRefused, Session, TableColumn, TableName
from beam_datahub.component.held import held
from beam_datahub.errors import DataHubError, SourceMissing, TargetUnusable, UnreadableData
from beam_datahub.io.mysql.dialect import MysqlDialect
from beam_datahub.io.mysql.packets import row_blocks
from beam_datahub.io.mysql.rows import (
    batch_of,
    converted,
    given_columns,
    insert_rows,
    letters_of,
    load_columns,
    load_statement,
    load_texts,
    unpacked,
)
from beam_datahub.io.mysql.spool import Spool, Spooled
from beam_datahub.io.mysql.types import column_of, column_of_field, select_item
from beam_datahub.kernels.scratch import scratch_prefix

# Strict, so that what does not fit is refused and not bent; nothing of a server's own settings changes what our SQL means.
_MODE = "STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
# Columns are found the faster in blocks that stay near the processor.
_BLOCK_BYTES = 2 << 20

Meaning = Callable[[int, str], DataHubError | RowsRefused]


class MysqlSession(Session):
    """A connection of PyMySQL's."""

    dialect = MysqlDialect()

    def __init__(
        self,
        settings: Mapping[str, Any],
        lock_timeout_seconds: int,
        meaning: Meaning,
        statement_timeout_seconds: int | None = None,
    ) -> None:
        import pymysql

        self._meaning = meaning
        self._lock = f"innodb_lock_wait_timeout={lock_timeout_seconds}, lock_wait_timeout={lock_timeout_seconds}"
        self._settings = (
            f"SET SESSION time_zone='+00:00', sql_mode='{_MODE}', sql_notes=0, net_write_timeout=3600, "
            f"sql_auto_is_null=0, {self._lock}"
        )
        flags = pymysql.constants.CLIENT.FOUND_ROWS
        with self.telling():
            self._connection: Any = pymysql.connect(
                **settings,
                charset="utf8mb4",
                autocommit=True,
                local_infile=True,
                client_flag=flags,
                init_command=self._settings,
                read_timeout=settings.get("connect_timeout"),
            )
            opened: Any = self._connection
            # The client bounds only how long the way to the server takes, not the greeting there.
            opened._read_timeout = None
            _watch_network(opened._sock)
            if statement_timeout_seconds is not None:
                maria = "MariaDB" in self.version()
                limit = "max_statement_time" if maria else "max_execution_time"
                self._execute(f"SET SESSION {limit} = {statement_timeout_seconds * (1 if maria else 1000)}")
            self._infile = bool(self._fetch("SELECT @@local_infile")[0][0])
        # A server may ask for a file at any time: only while rows are loaded it is given one.
        self._give_files(False)

    def _give_files(self, allowed: bool) -> None:
        self._connection._local_infile = allowed

    def failure(self, error: Exception) -> Exception | None:
        import pymysql

        if isinstance(error, AttributeError) and not self._alive():
            # The client goes on to send a file on a connection that has broken, and finds it gone.
            self.broken = True
            return self._meaning(2013, "the connection broke while rows were sent")
        if not isinstance(error, pymysql.Error):
            return None
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if not self._alive():
            self.broken = True
        return self._meaning(number, str(error.args[1]) if len(error.args) > 1 else str(error))

    def _alive(self) -> bool:
        connection = getattr(self, "_connection", None)
        return connection is not None and bool(connection.open)

    def _execute(self, sql: str) -> int:
        with self._connection.cursor() as cursor:
            return int(cursor.execute(sql))

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def begin(self) -> None:
        self._execute("START TRANSACTION")

    def close(self) -> None:
        try:
            self._connection.close()
        except Exception:
            self.broken = True

    def interrupt(self) -> None:
        try:
            # Whoever waits for an answer wakes up; closing it would not do that.
            self._connection._sock.shutdown(socket.SHUT_RDWR)
        except Exception:
            self.broken = True

    # what is there

    def _place(self, table: TableName, prefix: str = "") -> str:
        """The condition on a table in the server's own tables."""
        schema = "DATABASE()" if table.schema is None else self.dialect.literal(table.schema)
        return f"{prefix}TABLE_SCHEMA = {schema} AND {prefix}TABLE_NAME = {self.dialect.literal(table.name)}"

    def columns(self, table: TableName) -> tuple[TableColumn, ...] | None:
        rows = self.fetch(
            "SELECT COLUMN_NAME, COLUMN_TYPE, IS_NULLABLE = 'YES', COALESCE(COLUMN_DEFAULT, 'NULL') <> 'NULL' "
            "OR EXTRA LIKE '%auto_increment%', COALESCE(GENERATION_EXPRESSION, '') <> '', COLLATION_NAME "
            f"FROM information_schema.COLUMNS WHERE {self._place(table)} ORDER BY ORDINAL_POSITION"
        )
        # MariaDB's JSON is text with a condition.
        texts = {row[0] for row in rows if row[1] == "longtext"}
        known = {name for name in texts if f"json_valid(`{name}`)" in self.checks(table)} if texts else set()
        found = [
            column_of(
                name,
                "json" if name in known else declared,
                bool(nullable),
                filled=bool(filled),
                computed=bool(computed),
                # An enumeration's own: its words may be of any character set.
                collation=None if name in known else collation,
            )
            for name, declared, nullable, filled, computed, collation in rows
        ]
        return tuple(found) or None

    def tables(self, beside: TableName, prefix: str) -> list[TableName]:
        schema = "DATABASE()" if beside.schema is None else self.dialect.literal(beside.schema)
        rows = self.fetch(
            f"SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {schema} "
            f"AND LEFT(TABLE_NAME, {len(prefix)}) = {self.dialect.literal(prefix)} ORDER BY 1"
        )
        return [beside.beside(name) for (name,) in rows]

    def listed(self, schema: str | None) -> list[TableName]:
        where = "DATABASE()" if schema is None else self.dialect.literal(schema)
        rows = self.fetch(f"SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA = {where}")
        views = {name for (name,) in rows}
        return [table for table in super().listed(schema) if table.name not in views]

    def unique_keys(self, table: TableName) -> list[frozenset[str]]:
        rows = self.fetch(
            "SELECT INDEX_NAME, COLUMN_NAME, SUB_PART IS NOT NULL FROM information_schema.STATISTICS "
            f"WHERE {self._place(table)} AND NON_UNIQUE = 0 ORDER BY INDEX_NAME <> 'PRIMARY', INDEX_NAME, SEQ_IN_INDEX"
        )
        keys: dict[str, set[str]] = {}
        for index, column, _ in rows:
            keys.setdefault(index, set()).add(column)
        partial = {index for index, column, part in rows if part or column is None}
        return [frozenset(names) for index, names in keys.items() if index not in partial]

    def checks(self, table: TableName) -> list[str]:
        mine = self._place(table, "t.")
        try:
            rows = self._fetch(
                "SELECT c.CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS c JOIN information_schema.TABLE_CONSTRAINTS t "
                "ON t.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA AND t.CONSTRAINT_NAME = c.CONSTRAINT_NAME "
                f"AND t.CONSTRAINT_TYPE = 'CHECK' {self._same_table()} WHERE {mine}"
            )
        except Exception as error:
            if not self._alive() or self.failure(error) is None:
                raise
            # Servers without such conditions have no table of them.
            return []
        # The words of MySQL's are escaped.
        return [str(text).replace("\\'", "'") for (text,) in rows]

    def _same_table(self) -> str:
        # The names of MariaDB's conditions are a table's own.
        return "AND t.TABLE_NAME = c.TABLE_NAME" if "MariaDB" in self.version() else ""

    @property
    def is_local(self) -> bool:
        """Whether nobody can listen between us and the server."""
        return bool(self._connection.unix_socket) or self._connection.host in ("127.0.0.1", "::1", "localhost")

    def version(self) -> str:
        """What the server calls itself."""
        return str(self._connection.get_server_info())

    def keeps_transactions(self, table: TableName) -> bool:
        """Whether a transaction on a table can be taken back; True where it is not there."""
        rows = self.fetch(
            "SELECT e.TRANSACTIONS = 'YES' FROM information_schema.TABLES t JOIN information_schema.ENGINES e "
            f"ON e.ENGINE = t.ENGINE WHERE {self._place(table, 't.')}"
        )
        return all(bool(kept) for (kept,) in rows)

    def load(self, table: TableName, columns: Sequence[TableColumn], batch: pa.RecordBatch) -> None:
        given = given_columns(batch, columns)
        with self.telling(refused=None):
            self.begin()
            try:
                if self._infile:
                    said = load_columns(self.dialect, columns, given)
                    self._load_texts(table, load_texts(given), said, letters_of(batch, given))
                else:
                    names = self.dialect.names([column.name for column in columns])
                    values = ", ".join(["%s"] * len(columns))
                    into = f"INSERT INTO {self.dialect.table(table)} ({names})".replace("%", "%%")
                    with self._connection.cursor() as cursor:
                        cursor.executemany(f"{into} VALUES ({values})", insert_rows(given))
                self.commit()
            except BaseException:
                if self._alive():
                    self.rollback()
                raise

    @property
    def takes_files(self) -> bool:
        """Whether the server takes rows by LOAD DATA."""
        return self._infile

    @functools.cached_property
    def packet_bytes(self) -> int:
        """The longest statement that the server takes."""
        return int(self.fetch("SELECT @@max_allowed_packet")[0][0])

    def _load_texts(self, table: TableName, texts: Iterable[bytes | memoryview], columns: str, letters: str) -> int:
        """Load texts; gives how many rows. Raises RowsRefused with the first warning."""
        with tempfile.NamedTemporaryFile(prefix=scratch_prefix("load")) as file:
            for part in texts:
                file.write(part)
            file.flush()
            return self._load_file(table, file.name, columns, letters)

    def _load_file(self, table: TableName, path: str, columns: str, letters: str) -> int:
        self._give_files(True)
        try:
            rows = self._execute(load_statement(self.dialect, self.dialect.table(table), path, columns, letters))
        finally:
            self._give_files(False)
        # What it would refuse of an INSERT is only a warning there.
        for _, number, message in self._fetch("SHOW WARNINGS LIMIT 1"):
            found = self._meaning(number, re.sub(r" at row \d+$", "", message))
            raise found if isinstance(found, RowsRefused) else RowsRefused(message)
        return rows

    def bring(self, target: TableName, names: Sequence[str], staged: TableName, detail: Any) -> int:
        if detail is None:
            return super().bring(target, names, staged, detail)
        rows = 0
        if isinstance(detail, Spooled):
            spool = held(staged.name, Spool)
            if spool is None:
                raise TargetUnusable("what was staged lay in a process that is gone", hint="run it again")
            for letters, path in spool.files:
                with self.telling():
                    rows += self._load_file(target, path, detail.columns, letters)
            return rows
        table = self.dialect.table(staged)
        for batch, part, size, letters in self.fetch(f"SELECT batch, part, size, letters FROM {table} ORDER BY batch, part"):
            ((data,),) = self.fetch(f"SELECT data FROM {table} WHERE batch = {batch} AND part = {part}")
            with self.telling():
                rows += self._load_texts(target, [unpacked(size, data)], detail, letters)
        return rows

    # rows

    def describe(self, relation: Relation) -> tuple[TableColumn, ...]:
        if relation.table is not None:
            found = self.columns(relation.table)
            if found is None:
                raise SourceMissing(f"there is no table '{relation.table}'", hint="look at its name and its database")
            return found
        with self.telling(), self._connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {relation.sql(self.dialect)} LIMIT 0")
            return tuple(map(column_of_field, cursor._result.fields))

    def size(self, relation: Relation) -> tuple[int | None, int | None]:
        if relation.table is None:
            return None, None
        rows = self.fetch(f"SELECT TABLE_ROWS, DATA_LENGTH FROM information_schema.TABLES WHERE {self._place(relation.table)}")
        return (rows[0][0], rows[0][1]) if rows else (None, None)

    def stream(
        self, columns: Sequence[TableColumn], relation: Relation, where: Sequence[str], limit: int | None, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        conditions = f" WHERE {' AND '.join(f'({each})' for each in where)}" if where else ""
        limited = f" LIMIT {limit}" if limit is not None else ""
        items = ", ".join(select_item(column, self.dialect) for column in columns)
        sql = f"SELECT {items} FROM {relation.sql(self.dialect)}{conditions}{limited}"
        with self.telling(refused=UnreadableData):
            self._connection.query(sql, unbuffered=True)
            try:
                for block in row_blocks(self._connection, len(columns), min(batch_bytes, _BLOCK_BYTES)):
                    yield batch_of(block, columns)
            except BaseException:
                # The server would go on sending: only closing the connection stops it.
                self._connection._result.unbuffered_active = False
                self._connection._force_close()
                self.broken = True
                raise

    def convert(self, column: TableColumn, array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
        return converted(column, array, field)


def _watch_network(connection: socket.socket) -> None:
    """Notice within a minute a server that vanished without a word."""
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if connection.family != getattr(socket, "AF_UNIX", None) and hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
