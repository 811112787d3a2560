"""Any database that SQLAlchemy has a dialect for."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
from pydantic import Field, model_validator

from beam_datahub.component.capabilities import SinkCapabilities, SourceCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.database import Relation, RowsRefused, Session, TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.database_pool import pooled
from beam_datahub.component.database_rows import columns_of, python_rows
from beam_datahub.component.database_sink import DatabaseSink, DatabaseWriteOptions
from beam_datahub.component.database_source import DatabaseReadOptions, DatabaseSource
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.registry import register
from beam_datahub.errors import (
    AccessDenied,
    ConnectorError,
    InvalidValue,
    LossyWrite,
    MissingDependency,
    SourceMissing,
    Transient,
    UnreadableData,
)
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ, canonical, sql_type
from beam_datahub.security import Secret, redact

if TYPE_CHECKING:
    import sqlalchemy as sa

_BATCH_ROWS, _SAMPLE_ROWS = 20_000, 1000
_NATIVE = frozenset({"bool", "date", "time", "timestamp", "decimal"})
# Errors that all clients tell apart only by their words.
_WORDS: tuple[tuple[str, type[ConnectorError]], ...] = (
    (r"no such table|doesn't exist|does not exist|Unknown (database|table)|Invalid object name", SourceMissing),
    (r"denied|authentication|password|permission|not authorized|login failed", AccessDenied),
    (r"lock|deadlock|timed? ?out|refused|gone away|closed|lost connection|can't connect|unreachable|reset by peer", Transient),
)


class SqlConnection(Config):
    """A database, by its SQLAlchemy URL."""

    url: Secret | str
    """`dialect+driver://user@host:port/database`; the dialect's package must be installed."""

    password: Secret | None = None
    """The user's password, as `${secret.NAME}`."""

    pool_size: int = Field(default=5, gt=0)
    """How many connections a process opens at most."""

    @model_validator(mode="after")
    def _closed(self) -> SqlConnection:
        if isinstance(self.url, str) and re.search(r"://[^/@]*:[^/@]+@", self.url):
            raise ValueError("has a password in clear: give it as `password: ${secret.NAME}`")
        return self

    def full(self) -> sa.URL:
        """The URL with its password. Raises InvalidValue."""
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            found = make_url(self.url.reveal() if isinstance(self.url, Secret) else self.url)
        except ArgumentError:
            raise InvalidValue("`url` is no SQLAlchemy URL", hint="write `dialect+driver://user@host:port/database`") from None
        return found if self.password is None else found.set(password=self.password.reveal())

    @contextmanager
    def connected(self) -> Iterator[Session]:
        """A connection of the process's pool. Raises ConnectorError, MissingDependency."""
        with pooled(self, lambda: SqlSession(self), limit=self.pool_size, wait_seconds=600) as session:
            yield session


class SqlDialect(Dialect):
    """What SQLAlchemy's dialect of a system says about its SQL."""

    merges_in_place = False

    def __init__(self, found: sa.Dialect) -> None:
        self._found = found
        self.transactional_ddl = found.name in ("postgresql", "sqlite", "mssql", "cockroachdb", "redshift", "duckdb")
        self.true = "true" if found.supports_native_boolean else "1"

    def quoted(self, name: str) -> str:
        return str(self._found.identifier_preparer.quote_identifier(name))

    def literal(self, text: str) -> str:
        # Without standard strings a backslash is the beginning of something else.
        escaped = text.replace("\\", "\\\\") if self._found.name in ("mysql", "mariadb") else text
        return super().literal(escaped)

    def declared(self, data_type: pa.DataType) -> str:
        return self._compiled(_column_type(data_type), data_type)

    def keyed(self, data_type: pa.DataType) -> str:
        from sqlalchemy import String

        return self._compiled(String(255), data_type) if data_type == pa.string() else self.declared(data_type)

    def _compiled(self, wanted: sa.types.TypeEngine[Any] | None, data_type: pa.DataType) -> str:
        from sqlalchemy.exc import CompileError

        try:
            text = None if wanted is None else str(wanted.compile(dialect=self._found))
        except CompileError:
            text = None
        if data_type == TIMESTAMPTZ and text == self.declared(TIMESTAMP):
            # Its zone would be gone without a word.
            text = None
        if text is None:
            raise LossyWrite(
                f"{self._found.name} has no type for {sql_type(data_type)}", hint="cast it to text, or to another type"
            )
        return text

    def decimal(self, precision: int, scale: int) -> str:
        return self.declared(pa.decimal128(precision, scale))

    def comparable(self, name: str) -> str:
        return self.quoted(name)

    def create_as(self, table: TableName, select: str) -> str:
        if self._found.name == "mssql":
            return f"SELECT * INTO {self.table(table)} FROM ({select}) rows_of_it"
        return super().create_as(table, select)

    def first_rows(self, count: int) -> str:
        return {"mssql": "", "oracle": f"FETCH FIRST {count} ROWS ONLY"}.get(self._found.name, f"LIMIT {count}")

    def widen_column(self, table: TableName, name: str, declared: str) -> str | None:
        return None

    def update_from(self, target: TableName, columns: Sequence[str], key: Sequence[str], source: TableName) -> str | None:
        return None

    def orders(self, data_type: pa.DataType) -> bool:
        return bool(pa.types.is_integer(data_type))


@functools.lru_cache(maxsize=32)
def _dialect_of(connection: SqlConnection) -> SqlDialect:
    from sqlalchemy.exc import NoSuchModuleError

    try:
        return SqlDialect(connection.full().get_dialect()())
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        name = connection.full().drivername
        raise MissingDependency(f"there is no SQLAlchemy dialect for '{name}' here", hint="pip install its package") from error


class SqlSession(Session):
    """A connection of SQLAlchemy's."""

    def __init__(self, connection: SqlConnection) -> None:
        import sqlalchemy

        self.dialect = _dialect_of(connection)
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
        if isinstance(error, exc.IntegrityError | exc.DataError):
            return RowsRefused(said)
        for pattern, kind in _WORDS:
            if re.search(pattern, said, re.IGNORECASE):
                return kind(said)
        if isinstance(error, exc.ProgrammingError | exc.OperationalError):
            return InvalidValue(said)
        return ConnectorError(said)

    def _run(self, sql: str) -> sa.CursorResult[Any]:
        from sqlalchemy import text

        # Nothing in our statements is a parameter.
        return self._connection.execute(text(sql.replace("\\", "\\\\").replace(":", "\\:")))

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
            kind = _canonical(fact["type"])
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

        types = [_column_type(field.type) if field.type != JSON else sqlalchemy.Text() for field in batch.schema]
        # A lightweight table: its columns' types say how Python's values are bound.
        target = sqlalchemy.table(
            table.name,
            *(sqlalchemy.column(each.name, kind) for each, kind in zip(columns, types, strict=True)),
            schema=table.schema,
        )
        names = [column.name for column in columns]
        rows = [dict(zip(names, row, strict=True)) for row in python_rows(batch, native=_NATIVE)]
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
        return tuple(TableColumn(field.name, "", _roomy(field.type)) for field in batch.schema)

    def stream(
        self, columns: Sequence[TableColumn], relation: Relation, where: Sequence[str], limit: int | None, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        from sqlalchemy import text

        names = self.dialect.names([column.name for column in columns])
        conditions = f" WHERE {' AND '.join(f'({each})' for each in where)}" if where else ""
        sql = f"SELECT {names} FROM {relation.sql(self.dialect)}{conditions}"
        left = limit
        with self.telling(refused=UnreadableData):
            streaming = self._connection.execution_options(stream_results=True, max_row_buffer=_BATCH_ROWS)
            result = streaming.execute(text(sql.replace("\\", "\\\\").replace(":", "\\:")))
            try:
                while rows := result.fetchmany(_BATCH_ROWS if left is None else min(left, _BATCH_ROWS)):
                    left = None if left is None else left - len(rows)
                    yield columns_of([tuple(row) for row in rows], [(column.name, column.type) for column in columns])
            finally:
                result.close()
                self._connection.rollback()


def _roomy(found: pa.DataType) -> pa.DataType:
    """A sampled type with room for what may come later."""
    return pa.decimal128(38, found.scale) if pa.types.is_decimal(found) and found.precision <= 38 else canonical(found)


def _column_type(data_type: pa.DataType) -> sa.types.TypeEngine[Any] | None:
    """SQLAlchemy's type that keeps every value of a canonical type; None where there is none that all dialects have."""
    import sqlalchemy as sa

    t = pa.types
    if t.is_decimal(data_type):
        return sa.Numeric(data_type.precision, data_type.scale)
    if t.is_nested(data_type):
        return sa.JSON()
    kinds: dict[str, sa.types.TypeEngine[Any]] = {
        "BOOLEAN": sa.Boolean(),
        "TINYINT": sa.SmallInteger(),
        "SMALLINT": sa.SmallInteger(),
        "UTINYINT": sa.SmallInteger(),
        "INTEGER": sa.Integer(),
        "USMALLINT": sa.Integer(),
        "BIGINT": sa.BigInteger(),
        "UINTEGER": sa.BigInteger(),
        "UBIGINT": sa.Numeric(20, 0),
        "FLOAT": sa.Float(),
        "DOUBLE": sa.Double(),
        "VARCHAR": sa.Text(),
        "BLOB": sa.LargeBinary(),
        "DATE": sa.Date(),
        "TIME": sa.Time(),
        "TIMESTAMP": sa.DateTime(),
        "TIMESTAMPTZ": sa.DateTime(timezone=True),
        "JSON": sa.JSON(),
    }
    return kinds.get(sql_type(data_type))


def _canonical(kind: sa.types.TypeEngine[Any]) -> pa.DataType:
    """The canonical type of what a reflected column gives; text where SQLAlchemy does not know it."""
    from sqlalchemy import types

    if isinstance(kind, types.Numeric) and not isinstance(kind, types.Float):
        precision, scale = kind.precision or 38, kind.scale
        return pa.decimal128(min(precision, 38), scale if scale is not None else 9 if kind.precision is None else 0)
    known: tuple[tuple[type, pa.DataType], ...] = (
        (types.Boolean, pa.bool_()),
        (types.SmallInteger, pa.int16()),
        (types.BigInteger, pa.int64()),
        (types.Integer, pa.int64()),
        (types.Float, pa.float64()),
        (types.Date, pa.date32()),
        (types.Time, pa.time64("us")),
        (types._Binary, pa.binary()),
        (types.JSON, JSON),
    )
    if isinstance(kind, types.DateTime):
        return TIMESTAMPTZ if kind.timezone else TIMESTAMP
    return next((found for each, found in known if isinstance(kind, each)), pa.string())


@register("source", "sql", since="0.1.0")
class SqlSource(DatabaseSource):
    """Reads a table, view or query of any database that SQLAlchemy knows, through a cursor on the server's side."""

    Connection: ClassVar[type[Config]] = SqlConnection
    Options = DatabaseReadOptions
    capabilities = SourceCapabilities(columns=True, splits="key range")
    examples = (Example("A table of SQL Server", {"connection": {"url": "mssql+pymssql://etl@db/shop"}, "table": "dbo.orders"}),)

    connection: SqlConnection

    @property
    def dialect(self) -> Dialect:  # type: ignore[override]
        """The SQL of the system behind the URL."""
        return _dialect_of(self.connection)

    def connected(self) -> AbstractContextManager[Session]:
        return self.connection.connected()

    def datasets(self) -> tuple[DatasetName, ...]:
        return _datasets(self.connection, self.relation.table)


@register("sink", "sql", since="0.1.0")
class SqlSink(DatabaseSink):
    """Writes a table of any database that SQLAlchemy knows, by inserts of many rows; merging removes and adds by key."""

    Connection: ClassVar[type[Config]] = SqlConnection
    Options = DatabaseWriteOptions
    capabilities = SinkCapabilities(
        write_modes=(WriteMode.APPEND, WriteMode.OVERWRITE, WriteMode.MERGE),
        rejects=True,
        nested=False,
        types=("SMALLINT", "BIGINT", "DOUBLE", "DECIMAL(12,2)", "VARCHAR", "BLOB", "DATE", "TIMESTAMP"),
    )
    examples = (
        Example(
            "Upsert by key", {"connection": {"url": "sqlite:///shop.db"}, "table": "orders", "write_mode": "merge", "key": ["id"]}
        ),
    )

    connection: SqlConnection

    @property
    def dialect(self) -> Dialect:  # type: ignore[override]
        """The SQL of the system behind the URL."""
        return _dialect_of(self.connection)

    def connected(self) -> AbstractContextManager[Session]:
        return self.connection.connected()

    def datasets(self) -> tuple[DatasetName, ...]:
        return _datasets(self.connection, self.target)


def _datasets(connection: SqlConnection, table: TableName | None) -> tuple[DatasetName, ...]:
    if table is None:
        return ()
    url = connection.full()
    host = f"{url.host}:{url.port}" if url.port else url.host or ""
    name = f"{url.database}.{table}" if url.database else str(table)
    return (DatasetName(f"{url.get_backend_name()}://{host}", name),)
