"""One connection to a database through SQLAlchemy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.database import Relation, RowsRefused, Session, TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_pool import pooled
from beam_datahub.component.database_rows import columns_of, python_rows
from beam_datahub.component.source import Line
from beam_datahub.errors import (
    AccessDenied,
    ConnectorError,
    InvalidValue,
    MissingDependency,
    SourceMissing,
    Transient,
    UnreadableData,
)
from beam_datahub.io.sql.connection import SqlConnection, SqlDialect, dialect_of
from beam_datahub.io.sql.types import roomy
from beam_datahub.kernels.types import JSON
from beam_datahub.security import redact

if TYPE_CHECKING:
    import sqlalchemy as sa

_BATCH_ROWS, _SAMPLE_ROWS = 20_000, 1000
# Errors that all clients tell apart only by their words.
_WORDS: tuple[tuple[str, type[ConnectorError]], ...] = (
    (r"adaptive server is unavailable|cannot connect|no listener", Transient),
    (r"no such table|doesn't exist|does not exist|Unknown (database|table)|Invalid object name", SourceMissing),
    (r"denied|authentication|password|permission|not authorized|login failed", AccessDenied),
    (r"lock|deadlock|timed? ?out|refused|gone away|closed|lost connection|can't connect|unreachable|reset by peer", Transient),
)


# What some clients say of a row in an error that does not tell that it is one's.
_OF_A_ROW = re.compile(
    r"would be truncated|arithmetic overflow|conversion failed|out-of-range value"
    r"|ORA-(12899|01438|01426|01722|01830|01840|01841|01843|01847|01858|01861)",
    re.IGNORECASE,
)


class SqlSession(Session):
    """A connection of SQLAlchemy's."""

    dialect: SqlDialect

    def __init__(self, connection: SqlConnection) -> None:
        import sqlalchemy

        self.dialect = dialect_of(connection)
        self._open = False
        try:
            self._engine = sqlalchemy.create_engine(connection.full(), poolclass=sqlalchemy.NullPool)
        except ModuleNotFoundError as error:
            raise MissingDependency(f"the driver '{error.name}' is not installed", hint=f"pip install {error.name}") from error
        with self.telling():
            self._connection = self._engine.connect()

    def failure(self, error: Exception) -> Exception | None:
        from sqlalchemy import exc

        if isinstance(error, exc.NoSuchTableError):
            return SourceMissing(f"there is no table '{error}'")
        if not isinstance(error, exc.SQLAlchemyError):
            return None
        said = redact(str(getattr(error, "orig", None) or error))
        if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
            return Transient(said)
        if isinstance(error, exc.IntegrityError | exc.DataError) or _OF_A_ROW.search(said):
            return RowsRefused(said)
        for pattern, kind in _WORDS:
            if re.search(pattern, said, re.IGNORECASE):
                return kind(said)
        if isinstance(error, exc.ProgrammingError | exc.OperationalError):
            return InvalidValue(said)
        return ConnectorError(said)

    def _run(self, sql: str) -> sa.CursorResult[Any]:
        from sqlalchemy import text

        return self._connection.execute(text(_without_parameters(sql)))

    def _execute(self, sql: str) -> int:
        try:
            count = self._run(sql).rowcount
        except BaseException:
            if not self._open:
                self._connection.rollback()
            raise
        if not self._open:
            self._connection.commit()
        return count

    def _fetch(self, sql: str) -> list[tuple[Any, ...]]:
        rows = [tuple(row) for row in self._run(sql)]
        if not self._open:
            self._connection.rollback()
        return rows

    def is_alive(self) -> bool:
        try:
            return not self.broken and bool(self._engine.dialect.do_ping(self._connection.connection.dbapi_connection))  # type: ignore[arg-type]
        except Exception:
            return False

    def begin(self) -> None:
        self._open = True

    def commit(self) -> None:
        self._connection.commit()
        self._open = False

    def rollback(self) -> None:
        self._open = False
        self._connection.rollback()

    def version(self) -> str:
        """The system behind the URL, and its version where the dialect knows it."""
        found = self._engine.dialect
        known = getattr(found, "server_version_info", None) or ()
        return " ".join([found.name, ".".join(map(str, known))]).strip()

    def close(self) -> None:
        try:
            self._connection.close()
            self._engine.dispose()
        except Exception:
            self.broken = True

    def columns(self, table: TableName) -> tuple[TableColumn, ...] | None:
        import sqlalchemy

        with self.telling():
            try:
                facts = sqlalchemy.inspect(self._connection).get_columns(table.name, table.schema)
            except sqlalchemy.exc.NoSuchTableError:
                return None
            finally:
                if not self._open:
                    self._connection.rollback()
        found = []
        for fact in facts:
            try:
                declared = str(fact["type"].compile(dialect=self._engine.dialect))
            except sqlalchemy.exc.CompileError:
                declared = str(fact["type"])
            filled = fact.get("default") is not None or bool(fact.get("autoincrement") is True or fact.get("identity"))
            kind = self.dialect.canonical(fact["type"])
            found.append(
                TableColumn(fact["name"], declared, kind, bool(fact["nullable"]), filled, bool(fact.get("computed")), "known")
            )
        return tuple(found) or None

    def tables(self, beside: TableName, prefix: str) -> list[TableName]:
        import sqlalchemy

        with self.telling():
            names = sqlalchemy.inspect(self._connection).get_table_names(beside.schema)
            if not self._open:
                self._connection.rollback()
        return [beside.beside(name) for name in names if name.lower().startswith(prefix.lower())]

    def unique_keys(self, table: TableName) -> list[frozenset[str]]:
        import sqlalchemy

        with self.telling():
            inspector = sqlalchemy.inspect(self._connection)
            primary = inspector.get_pk_constraint(table.name, table.schema)["constrained_columns"]
            others = [each["column_names"] for each in inspector.get_unique_constraints(table.name, table.schema)]
            if not self._open:
                self._connection.rollback()
        return [frozenset(names) for names in (primary, *others) if names]

    def load(self, table: TableName, columns: Sequence[TableColumn], batch: pa.RecordBatch) -> None:
        import sqlalchemy

        types = [self.dialect.kind(field.type) if field.type != JSON else sqlalchemy.Text() for field in batch.schema]
        # A lightweight table: its columns' types say how Python's values are bound.
        target = sqlalchemy.table(
            table.name,
            *(sqlalchemy.column(each.name, kind) for each, kind in zip(columns, types, strict=True)),
            schema=table.schema,
        )
        names = [column.name for column in columns]
        rows = [dict(zip(names, row, strict=True)) for row in python_rows(self.dialect.sent(batch), native=self.dialect.native)]
        with self.telling(refused=None), self.transaction_of_rows():
            self._connection.execute(sqlalchemy.insert(target), rows)

    @contextmanager
    def transaction_of_rows(self) -> Iterator[None]:
        """A transaction whose errors are still the client's own."""
        try:
            yield
            self._connection.commit()
        except BaseException:
            self._connection.rollback()
            raise

    def convert(self, column: TableColumn, array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
        if pa.types.is_boolean(field.type) and (pa.types.is_integer(array.type) or pa.types.is_decimal(array.type)):
            # A number that is neither is no truth.
            number = array.cast(pa.decimal128(38, 9), safe=False) if pa.types.is_decimal(array.type) else array
            known = pc.or_(pc.equal(number, pa.scalar(0, number.type)), pc.equal(number, pa.scalar(1, number.type)))
            found = pc.if_else(known, pc.equal(number, pa.scalar(1, number.type)), pa.scalar(None, pa.bool_()))
            bad = pc.fill_null(pc.invert(known), False)
            return found, bad if pc.any(bad).as_py() else None
        found, bad = super().convert(column, array, field)
        if pa.types.is_decimal(array.type) and pa.types.is_decimal(found.type) and array.type.scale > found.type.scale:
            # A cast rounds without a word.
            wide = pa.decimal256(76, array.type.scale)
            rounded = pc.fill_null(pc.not_equal(found.cast(wide), array.cast(wide)), False)
            if pc.any(rounded).as_py():
                bad = rounded if bad is None else pc.or_(bad, rounded)
        return found, bad

    def describe(self, relation: Relation) -> tuple[TableColumn, ...]:
        if relation.table is not None:
            found = self.columns(relation.table)
            if found is None:
                raise SourceMissing(f"there is no table '{relation.table}'")
            return found
        # A client says nothing of a query's types that all of them mean alike: the first rows do.
        with self.telling():
            result = self._run(f"SELECT * FROM {relation.sql(self.dialect)}")
            names, rows = list(result.keys()), [tuple(row) for row in result.fetchmany(_SAMPLE_ROWS)]
            result.close()
            self._connection.rollback()
        if not rows:
            return tuple(TableColumn(name, "", pa.string()) for name in names)
        batch = columns_of(rows, [(name, pa.null()) for name in names])
        return tuple(TableColumn(field.name, "", roomy(field.type)) for field in batch.schema)

    def stream(
        self, columns: Sequence[TableColumn], relation: Relation, where: Sequence[str], limit: int | None, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        from sqlalchemy import text

        sql = selecting(self.dialect, columns, relation, where)
        left = limit
        with self.telling(refused=UnreadableData):
            streaming = {"stream_results": True, "max_row_buffer": _BATCH_ROWS}
            result = self._connection.execute(text(_without_parameters(sql)), execution_options=streaming)
            try:
                while left != 0 and (rows := result.fetchmany(_BATCH_ROWS if left is None else min(left, _BATCH_ROWS))):
                    left = None if left is None else left - len(rows)
                    yield columns_of([tuple(row) for row in rows], [(column.name, column.type) for column in columns])
            finally:
                result.close()
                self._connection.rollback()


def selecting(dialect: Dialect, columns: Sequence[TableColumn], relation: Relation, where: Sequence[str]) -> str:
    """The statement that reads rows; `where` are conditions that all must hold."""
    conditions = f" WHERE {' AND '.join(f'({each})' for each in where)}" if where else ""
    return f"SELECT {dialect.names([column.name for column in columns])} FROM {relation.sql(dialect)}{conditions}"


def _without_parameters(sql: str) -> str:
    """A statement as SQLAlchemy's `text` takes it: nothing in ours is a parameter."""
    return sql.replace(":", "\\:")


@contextmanager
def connected(connection: SqlConnection) -> Iterator[Session]:
    """A connection of the process's pool. Raises ConnectorError, MissingDependency."""
    with pooled(connection, lambda: SqlSession(connection), limit=connection.pool_size, wait_seconds=600) as session:
        yield session


def reached(session: Session) -> Sequence[Line]:
    """What a server says of itself: its system and version."""
    assert isinstance(session, SqlSession)
    return [("server", True, session.version())]
