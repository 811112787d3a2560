"""How a database is reached by its SQLAlchemy URL, and what its dialect says of its SQL."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field, model_validator

from beam_datahub.component.config import Config
from beam_datahub.component.database import TableColumn, TableName
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.errors import InvalidValue, LossyWrite, MissingDependency
from beam_datahub.io.sql.types import canonical_of, column_type
from beam_datahub.kernels.types import TIMESTAMP, TIMESTAMPTZ, sql_type
from beam_datahub.security import Secret

if TYPE_CHECKING:
    import sqlalchemy as sa


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


class SqlDialect(Dialect):
    """What SQLAlchemy's dialect of a system says about its SQL."""

    merges_in_place = False
    # Oracle's lists have at most a thousand values.
    keys_at_once = 500

    def __init__(self, found: sa.Dialect) -> None:
        self._found = found
        self.transactional_ddl = found.name in ("postgresql", "sqlite", "mssql", "cockroachdb", "redshift", "duckdb")
        self.true, self.false = ("true", "false") if found.supports_native_boolean else ("1", "0")

    native = frozenset({"bool", "date", "time", "timestamp", "decimal"})
    """What the client takes as Python's own values; the rest it gets as text."""
    empty_is_null = False
    """Whether the database keeps a text without letters as NULL."""

    def quoted(self, name: str) -> str:
        longest = self._found.max_identifier_length
        if len(name.encode()) > longest:
            raise InvalidValue(f"the name '{name}' is longer than the {longest} bytes that {self._found.name} allows")
        return str(self._found.identifier_preparer.quote_identifier(name))

    def kind(self, data_type: pa.DataType) -> sa.types.TypeEngine[Any] | None:
        """SQLAlchemy's type that keeps every value of a canonical type; None where the system has none."""
        return column_type(data_type)

    def canonical(self, kind: sa.types.TypeEngine[Any]) -> pa.DataType:
        """The canonical type of what a reflected column gives."""
        return canonical_of(kind)

    def sent(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows as they are sent: what the database would not understand as it is spelt elsewhere."""
        return batch

    def key_kind(self) -> sa.types.TypeEngine[Any]:
        """The type of new texts that are in a key."""
        from sqlalchemy import String

        return String(255)

    def having(self, keys: Sequence[tuple[TableColumn, Sequence[str]]]) -> str:
        # No client can say a NUL, and some databases keep one: then all rows are looked through.
        told = all("\0" not in text for _, texts in keys for text in texts)
        return super().having(keys) if told else "1 = 1"

    def literal(self, text: str) -> str:
        # Without standard strings a backslash is the beginning of something else.
        escaped = text.replace("\\", "\\\\") if self._found.name in ("mysql", "mariadb") else text
        return super().literal(escaped)

    def declared(self, data_type: pa.DataType) -> str:
        return self._compiled(self.kind(data_type), data_type)

    def keyed(self, data_type: pa.DataType) -> str:
        return self._compiled(self.key_kind(), data_type) if data_type == pa.string() else self.declared(data_type)

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

    def as_text(self, value: str) -> str:
        return value

    def moment_as(self, text: str, declared: str) -> str:
        # SQLite keeps moments as texts, and would cast them to numbers.
        return self.literal(text) if self._found.name == "sqlite" else super().moment_as(text, declared)

    def first_rows(self, count: int) -> str:
        return f"LIMIT {count}"

    def rename(self, table: TableName, name: str) -> str | None:
        return None

    def widen_column(self, table: TableName, name: str, declared: str) -> str | None:
        return None

    def update_from(self, target: TableName, columns: Sequence[str], key: Sequence[str], source: TableName) -> str | None:
        return None

    def delete_matching(self, target: TableName, key: Sequence[str], source: TableName, condition: str | None = None) -> str:
        if self._found.name != "sqlite":
            return super().delete_matching(target, key, source, condition)
        # It would go through all of the source for each row.
        met = "" if condition is None else f" WHERE {condition}"
        chosen = f"SELECT {self.names(key)} FROM {self.table(source)}{met}"
        return f"DELETE FROM {self.table(target)} WHERE ({self.names(key)}) IN ({chosen})"

    def orders(self, data_type: pa.DataType) -> bool:
        return bool(pa.types.is_integer(data_type))


def spelt(found: sa.Dialect) -> SqlDialect:
    """The SQL of a system, by its SQLAlchemy dialect."""
    from beam_datahub.io.sql.mssql import SqlServerDialect
    from beam_datahub.io.sql.mysql import MysqlDialect
    from beam_datahub.io.sql.oracle import OracleDialect

    known = {"mssql": SqlServerDialect, "oracle": OracleDialect, "mysql": MysqlDialect, "mariadb": MysqlDialect}
    return known.get(found.name, SqlDialect)(found)


@functools.lru_cache(maxsize=32)
def dialect_of(connection: SqlConnection) -> SqlDialect:
    """The SQL of the system behind a URL. Raises InvalidValue, MissingDependency."""
    from sqlalchemy.exc import NoSuchModuleError

    try:
        return spelt(connection.full().get_dialect()())
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        name = connection.full().drivername
        raise MissingDependency(f"there is no SQLAlchemy dialect for '{name}' here", hint="pip install its package") from error
