"""What every database has in common for its connectors: names of tables, columns, and one open connection to it."""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.component.arrow_blocks import fit_array
from beam_datahub.errors import ConnectorError, InvalidValue, TargetUnusable, Transient

if TYPE_CHECKING:
    from tenacity import Retrying

    from beam_datahub.component.database_dialect import Dialect

_PART = re.compile(r'"((?:[^"]|"")+)"|([^".]+)')
# Attempts at what a short outage breaks, and the seconds that they may take together.
_ATTEMPTS, _SECONDS = 6, 60
_AGAIN_SECONDS = 0.5


@dataclass(frozen=True)
class TableName:
    """A table, in a schema or in the one that the connection looks in first."""

    name: str
    schema: str | None = None

    @classmethod
    def parse(cls, text: str) -> TableName:
        """The table that `orders`, `sales.orders` or `"a.b"."c"` names; case is kept. Raises InvalidValue."""
        parts, at = [], 0
        while found := _PART.match(text, at):
            parts.append(found[1].replace('""', '"') if found[1] is not None else found[2])
            at = found.end()
            if at == len(text) or text[at] != ".":
                break
            at += 1
        if at != len(text) or not parts:
            raise InvalidValue(f"{text!r} names no table", hint='write `table`, `schema.table`, or `"a.b"."c d"` in quotes')
        return cls(parts[-1], ".".join(parts[:-1]) or None)

    @property
    def spelt(self) -> str:
        """The text that names this table."""
        parts = [part for part in (self.schema, self.name) if part is not None]
        return ".".join(part if re.fullmatch(r"\w+", part) else '"' + part.replace('"', '""') + '"' for part in parts)

    def beside(self, name: str) -> TableName:
        """The table `name` in the same schema."""
        return TableName(name, self.schema)

    def __str__(self) -> str:
        return self.name if self.schema is None else f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class TableColumn:
    """A column as its table has it: `declared` is its type in the database's words, `type` the canonical type that holds what
    is read from it. `filled`: the database gives a value where none is written; `computed`: none can be written.
    """

    name: str
    declared: str
    type: pa.DataType
    nullable: bool = True
    filled: bool = False
    computed: bool = False
    detail: Any = None


@dataclass(frozen=True)
class Relation:
    """What a source reads: a table, or a query with what the user called it."""

    table: TableName | None = None
    query: str | None = None

    def sql(self, dialect: Dialect) -> str:
        """What stands behind FROM."""
        if self.table is not None:
            return dialect.table(self.table)
        assert self.query is not None
        return f"({self.query.strip().rstrip(';').rstrip()}\n) dh_query"

    def __str__(self) -> str:
        return str(self.table) if self.table is not None else "the query"


class RowsRefused(Exception):
    """The database does not take some row of those that it was given: its own words, and the column where it names one."""

    def __init__(self, message: str, column: str | None = None) -> None:
        super().__init__(message)
        self.message, self.column = message, column


class Session(ABC):
    """One open connection to a database. Outside of `transaction` each statement stands for itself.

    A system implements `_execute`, `_fetch`, `begin`, `commit`, `rollback` and the questions below with its own client, whose
    errors may escape: `failure` says what they mean.
    """

    dialect: Dialect

    @abstractmethod
    def failure(self, error: Exception) -> Exception | None:
        """What an error of the client means: RowsRefused, or a ConnectorError; None where it is none of the client's."""

    @contextmanager
    def telling(self, refused: type[ConnectorError] | None = TargetUnusable) -> Iterator[None]:
        """Turn the errors of the client into ours; `refused` is what it means that rows are (None: RowsRefused itself)."""
        try:
            yield
        except RowsRefused as error:
            raise error if refused is None else refused(error.message) from error
        except Exception as error:
            meaning = self.failure(error)
            if meaning is None:
                raise
            if isinstance(meaning, Transient):
                self.broken = True
            if isinstance(meaning, RowsRefused) and refused is not None:
                meaning = refused(meaning.message)
            raise meaning from error

    def execute(self, sql: str) -> int:
        """Run a statement; gives how many rows it touched (−1: the database does not say)."""
        with self.telling():
            return self._execute(sql)

    def fetch(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a small query."""
        with self.telling():
            return self._fetch(sql)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        with self.telling():
            self.begin()
        try:
            yield
            with self.telling():
                self.commit()
        except BaseException:
            try:
                self.rollback()
            except Exception:
                self.broken = True
            raise

    broken = False
    """Whether it must not be used again."""

    @contextmanager
    def limited(self, seconds: float | None) -> Iterator[None]:
        """Break off what takes longer. Raises Transient then."""
        if seconds is None:
            yield
            return
        late, over = threading.Event(), threading.Event()

        def watch() -> None:
            if over.wait(seconds):
                return
            late.set()
            # What is told while no statement is under way is not heard: it is told until the end.
            while True:
                with suppress(Exception):
                    self.interrupt()
                if over.wait(_AGAIN_SECONDS):
                    return

        watching = threading.Thread(target=watch, name="limit", daemon=True)
        watching.start()
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        finally:
            # Behind this, nobody interrupts a connection that others may have by then.
            over.set()
            watching.join()
        if late.is_set():
            self.broken = True
            raise Transient(f"there was no answer within {seconds:g} seconds") from failure
        if failure is not None:
            raise failure

    def interrupt(self) -> None:  # noqa: B027 - not every client can
        """Break off the statement that another thread waits for, where the client can; raises nothing."""

    @abstractmethod
    def _execute(self, sql: str) -> int: ...

    @abstractmethod
    def _fetch(self, sql: str) -> list[tuple[Any, ...]]: ...

    def begin(self) -> None:
        """Begin a transaction."""
        self._execute("BEGIN")

    def commit(self) -> None:
        """Make it last."""
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Take it back."""
        self._execute("ROLLBACK")

    def is_alive(self) -> bool:
        """Whether the server still answers; raises nothing."""
        try:
            return not self.broken and bool(self._fetch("SELECT 1"))
        except Exception:
            return False

    @abstractmethod
    def close(self) -> None:
        """End the connection; raises nothing."""

    # for destinations

    @abstractmethod
    def columns(self, table: TableName) -> tuple[TableColumn, ...] | None:
        """The columns of a table, in order; None where there is no such table."""

    @abstractmethod
    def tables(self, beside: TableName, prefix: str) -> list[TableName]:
        """The tables in the schema of `beside` whose names start with `prefix`."""

    def listed(self, schema: str | None) -> list[TableName]:
        """The tables of a schema, or of the one that the connection looks in first, but for ours."""
        found = self.tables(TableName("", schema), "")
        return [table for table in found if not table.name.startswith(("_dh_", "_beam_datahub_"))]

    @abstractmethod
    def unique_keys(self, table: TableName) -> list[frozenset[str]]:
        """The sets of columns that are unique in a table, its primary key among them."""

    def checks(self, table: TableName) -> list[str]:
        """The conditions of a table's CHECK constraints, for staging tables that are not made LIKE it."""
        return []

    @abstractmethod
    def load(self, table: TableName, columns: Sequence[TableColumn], batch: pa.RecordBatch) -> None:
        """Put all rows of `batch` into `columns` of a table, or none. Raises RowsRefused."""

    def bring(self, target: TableName, names: Sequence[str], staged: TableName, detail: Any) -> int:
        """Add staged rows to a table; gives how many (−1: the database does not say). `detail` is that of their receipt."""
        select = f"SELECT {self.dialect.names(names)} FROM {self.dialect.table(staged)}"
        return self.execute(self.dialect.insert(target, names, select))

    def clear(self, table: TableName) -> None:
        """Remove all rows of a table."""
        self.execute(f"DELETE FROM {self.dialect.table(table)}")

    # for sources

    @abstractmethod
    def describe(self, relation: Relation) -> tuple[TableColumn, ...]:
        """The columns of what is read. Raises SourceMissing, InvalidValue where the query is wrong."""

    @abstractmethod
    def stream(
        self, columns: Sequence[TableColumn], relation: Relation, where: Sequence[str], limit: int | None, batch_bytes: int
    ) -> Iterator[pa.RecordBatch]:
        """The rows of what is read, as they come; `where` are conditions that all must hold."""

    def convert(self, column: TableColumn, array: pa.Array, field: pa.Field) -> tuple[pa.Array, pa.Array | None]:
        """What `stream` gave of a column in the type of `field`, and a mask of the values that the type cannot hold."""
        return fit_array(array, field.type)

    def size(self, relation: Relation) -> tuple[int | None, int | None]:
        """Rows and bytes of what is read, as the database's statistics have them; nothing is counted."""
        return None, None


def retrying() -> Retrying:
    """Attempts at what a short outage may break: again after growing, jittered pauses while the failure is Transient."""
    import tenacity

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Transient),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
        stop=tenacity.stop_after_attempt(_ATTEMPTS) | tenacity.stop_after_delay(_SECONDS),
        reraise=True,
    )
