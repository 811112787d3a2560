"""Databases as sources: a table or a query, only the columns and rows that are needed, in key ranges where workers share it.

A system subclasses `DatabaseSource` and says how it is reached (`connected`); its session says how rows become batches.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import ClassVar

import pyarrow as pa
from pydantic import model_validator

from beam_datahub.component.arrow_blocks import Convert, Fitting
from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.columns import Names
from beam_datahub.component.config import Config
from beam_datahub.component.database import Relation, Session, TableColumn, TableName, retrying
from beam_datahub.component.database_dialect import Dialect
from beam_datahub.component.source import (
    Block,
    Discovery,
    Finding,
    Line,
    Origin,
    ReadRequest,
    Report,
    Since,
    Source,
    SourcePart,
    Split,
)
from beam_datahub.errors import DataHubError, InvalidValue, SchemaDrift, SourceMissing, Transient
from beam_datahub.kernels.read_ahead import read_ahead
from beam_datahub.kernels.types import quoted
from beam_datahub.kernels.workbench import over

# Splits are worth their while only past so many rows.
_LEAST_ROWS = 20_000
_MOST_SPLITS, _ASKED_SPLITS = 256, 8
# The keys of one query take about so many bytes at most; servers have limits of 1 MiB and more.
_KEY_BYTES = 512 * 1024


class DatabaseReadOptions(Config):
    """What is read."""

    table: str | None = None
    """The table or view: `orders` or `sales.orders`."""

    query: str | None = None
    """A SELECT in the database's own SQL, in place of a table."""

    tables: Names | None = None
    """Several tables, by names or patterns such as `shop.*` or `[orders, "line_*"]`, in place of a table: each is a source of its
    own, `NAME.orders`, and steps and destinations behind are made for each of them. In a destination, `${table}` and `${schema}`
    stand for the table's, and `key: ${key}` for its primary key."""

    exclude: Names = ()
    """Names or patterns of tables that `tables` leaves out."""

    where: str | None = None
    """A condition in the database's own SQL that rows must meet; the database evaluates it."""

    split_by: str | None = None
    """The column whose ranges several workers read; the primary key when left out."""

    @model_validator(mode="after")
    def _one(self) -> DatabaseReadOptions:
        if sum(each is not None for each in (self.table, self.query, self.tables)) != 1:
            raise ValueError("needs a `table`, a `query` or `tables`, and just one of them")
        if self.exclude and self.tables is None:
            raise ValueError("has `exclude`, which goes with `tables`")
        return self


@dataclass(frozen=True)
class Range:
    """The rows of one split: a condition on the key, None for all of them, and the snapshot that all splits read."""

    where: str | None = None
    snapshot: str | None = None


class DatabaseSource(Source):
    """A table or a query of a database."""

    Options: ClassVar[type[Config]] = DatabaseReadOptions
    capabilities = SourceCapabilities(columns=True, splits="key range", lookup=True)
    whole_originals = False
    dialect: Dialect

    options: DatabaseReadOptions
    _columns: dict[str, TableColumn] | None = None

    @abstractmethod
    def connected(self) -> AbstractContextManager[Session]:
        """A connection for a while. Raises ConnectorError."""

    @property
    def relation(self) -> Relation:
        """What is read. Raises InvalidValue."""
        if self.options.table is not None:
            return Relation(table=TableName.parse(self.options.table))
        return Relation(query=self.options.query)

    def check(self) -> Report:
        lines: list[Line] = []
        try:
            with self.connected() as session:
                lines += self.reached(session)
                if self.options.tables is not None:
                    found = matching_tables(session, self.options.tables, self.options.exclude)
                    lines.append(("tables", True, ", ".join(map(str, found))))
                    return Report(tuple(lines))
                columns = session.describe(self.relation)
                lines.append((str(self.relation), True, f"{len(columns)} columns"))
                session.fetch(f"SELECT 1 FROM {self.relation.sql(self.dialect)} WHERE 1 = 0")
                lines.append(("right to read", True, str(self.relation)))
        except DataHubError as error:
            lines.append(Finding("reach" if not lines else str(self.relation), False, error.reason, error.hint))
        return Report(tuple(lines))

    def reach(self) -> Report:
        try:
            with self.connected() as session:
                return Report(tuple(self.reached(session)))
        except DataHubError as error:
            return Report((Finding("reach", False, error.reason, error.hint),))

    def reached(self, session: Session) -> Sequence[Line]:
        """What `check` tells of the server that answered."""
        return [("reach", True, "connected")]

    def discover(self) -> Discovery:
        for attempt in retrying():
            with attempt, self.connected() as session:
                columns = session.describe(self.relation)
                rows, size = (None, None) if self.options.where else session.size(self.relation)
                keys = session.unique_keys(self.relation.table) if self.relation.table is not None else []
        return Discovery(pa.schema([(column.name, column.type) for column in columns]), rows, size, keys=tuple(keys))

    def several(self) -> Sequence[SourcePart] | None:
        if self.options.tables is None:
            return None
        for attempt in retrying():
            with attempt, self.connected() as session:
                found = matching_tables(session, self.options.tables, self.options.exclude)
                keys = {table: session.unique_keys(table) for table in found}
                columns = {table: [column.name for column in session.columns(table) or ()] for table in found}
        parts = []
        for table in found:
            key = keys[table][0] if keys[table] else ()
            ordered = tuple(name for name in columns[table] if name in key)
            parts.append(SourcePart(table.name, table.schema, {"table": table.spelt}, ordered))
        return parts

    def splits(self, request: ReadRequest) -> Iterator[Split]:
        ranges = self.ranges(request) if request.split_bytes and request.limit is None else [Range()]
        for number, each in enumerate(ranges):
            yield Split(f"{self.relation}#{number}" if len(ranges) > 1 else str(self.relation), detail=each)

    def ranges(self, request: ReadRequest) -> Sequence[Range]:
        """The parts that workers read, together all rows."""
        with self.connected() as session:
            relation = self.relation
            rows, size = session.size(relation)
            assert request.split_bytes is not None
            count = min(_MOST_SPLITS, int((size or 0) / request.split_bytes) + 1, int((rows or 0) / _LEAST_ROWS) + 1)
            key = self.options.split_by or self.key(session, relation)
            if self.options.split_by is not None:
                # The user knows better than statistics that there are none of.
                count = max(count, _ASKED_SPLITS)
            if key is None or count < 2:
                return [Range()]
            bounds = self.bounds(session, relation, key, count)
        return [Range(where) for where in key_ranges(self.dialect.quoted(key), bounds)]

    def key(self, session: Session, relation: Relation) -> str | None:
        """The column to split by where the user names none: the one of a primary key."""
        if relation.table is None:
            return None
        keys = [next(iter(key)) for key in session.unique_keys(relation.table) if len(key) == 1]
        return keys[0] if keys else None

    def bounds(self, session: Session, relation: Relation, key: str, count: int) -> Sequence[str]:
        """At most `count` - 1 values of the key as SQL literals, rising, that part the rows about evenly.

        By the least and the greatest value, which an index gives without a scan; only numbers can be parted so.
        """
        name = self.dialect.quoted(key)
        low, high = session.fetch(f"SELECT min({name}), max({name}) FROM {relation.sql(self.dialect)}")[0]
        if isinstance(low, int) and isinstance(high, int):
            return even_bounds(low, high, count)
        return ()

    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        part: Range = split.detail or Range()
        known = self._described(request)
        drifted = tuple(name for name in known if name not in request.schema.names)
        wanted = [known[name] for name in request.columns] or [next(iter(known.values()))]
        conditions = [each for each in (self.options.where, part.where, self._new(known, request.since)) if each is not None]
        place = str(self.relation)
        with self.reading(part) as session:
            fitting = Fitting(request, place, drifted, _conversion(session, known))
            batches = self._told(session.stream(wanted, self.relation, conditions, request.limit, request.batch_bytes))
            first_row = 0
            if request.limit is None and request.threads > 1:
                blocks = read_ahead(batches, fitting.fit, threads=1)
            else:
                blocks = (fitting.fit(batch) for batch in batches)
            for fitted in blocks:
                yield fitted.block(Origin(place, first_row=first_row), drifted)
                first_row += fitted.records

    def _described(self, request: ReadRequest) -> dict[str, TableColumn]:
        """The columns that are there now. Raises SchemaDrift where one is not that was promised."""
        for attempt in retrying():
            with attempt, self.connected() as session:
                known = {column.name: column for column in session.describe(self.relation)}
        for name in request.schema.names:
            if name not in known:
                raise SchemaDrift(f"{self.relation} has no column '{name}'", hint="take it out of the source's `schema`")
        return known

    def asks_by(self, column: str, data_type: pa.DataType) -> bool:
        return self.dialect.asks_by(data_type)

    def lookup(self, keys: pa.Table, request: ReadRequest, *, timeout_seconds: float | None = None) -> Iterator[Block]:
        if self._columns is None:
            # Asking what is there costs as much as asking for some rows.
            self._columns = self._described(request)
        known, place, first_row = self._columns, str(self.relation), 0
        for name in keys.column_names:
            if known[name].type != keys.schema.field(name).type:
                raise InvalidValue(
                    f"{place} cannot be asked by '{name}': it is {known[name].declared} there",
                    hint="leave it out of the source's `schema`, or use `lookup: whole`",
                )
        wanted = [known[name] for name in request.columns]
        for part in key_parts(keys, self.dialect.keys_at_once):
            having = self.dialect.having([(known[name], texts) for name, texts in part.items()])
            conditions = [each for each in (self.options.where, having) if each is not None]
            for attempt in retrying():
                with attempt, self.connected() as session, session.limited(timeout_seconds):
                    fitting = Fitting(request, place, convert=_conversion(session, known))
                    stream = session.stream(wanted, self.relation, conditions, None, request.batch_bytes)
                    found = [fitting.fit(batch) for batch in stream]
            for fitted in found:
                yield fitted.block(Origin(place, first_row=first_row))
                first_row += fitted.records

    def _new(self, columns: Mapping[str, TableColumn], since: Since | None) -> str | None:
        """The condition on what is new, where the database compares values of the column as we do."""
        if since is None or since.column not in columns or columns[since.column].type != since.data_type:
            return None
        if not self.dialect.orders(since.data_type):
            return None
        name, bounds = self.dialect.quoted(since.column), []
        for sign, bound in ((">=", since.floor), ("<", since.until)):
            if bound is not None:
                number = pa.types.is_integer(since.data_type) or pa.types.is_decimal(since.data_type)
                bounds.append(f"{name} {sign} {bound if number else self.dialect.moment(bound, since.data_type)}")
        if not bounds:
            return None
        return f"{name} IS NULL OR ({' AND '.join(bounds)})" if since.nulls else " AND ".join(bounds)

    def reading(self, part: Range) -> AbstractContextManager[Session]:
        """A connection that sees what the split is to see."""
        return self.connected()

    def _told(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        begun = False
        try:
            for batch in batches:
                begun = True
                yield batch
        except Transient as error:
            if begun:
                # Rows are on their way already: only the whole run can begin anew without doubling them.
                error.reason = f"the connection broke while {self.relation} was read: {error.reason}"
                error.args = (error.reason,)
            raise


def _conversion(session: Session, known: Mapping[str, TableColumn]) -> Convert:
    return lambda array, field: session.convert(known[field.name], array, field)


def key_parts(keys: pa.Table, most: int) -> Iterator[dict[str, list[str]]]:
    """Keys as DuckDB's texts, a column at a time, as many as one query is given: at most so many, and about so many bytes."""
    count = max(1, min(most, _KEY_BYTES * keys.num_rows // max(1, keys.nbytes)))
    names = ", ".join(f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in keys.column_names)
    texts = over(keys, f"SELECT {names} FROM t")
    for start in range(0, texts.num_rows, count):
        part = texts.slice(start, count)
        yield {name: part[name].to_pylist() for name in part.column_names}


def matching_tables(session: Session, patterns: Sequence[str], exclude: Sequence[str]) -> list[TableName]:
    """The tables whose names match one of the patterns, and none of those excluded. Raises SourceMissing, InvalidValue."""
    left_out = [TableName.parse(each) for each in exclude]
    found: dict[TableName, None] = {}
    for pattern in map(TableName.parse, patterns):
        if set(pattern.schema or "") & set("*?["):
            raise InvalidValue(f"the schema of '{pattern}' is a pattern", hint="name each schema: `[sales.*, crm.*]`")
        there = [table for table in session.listed(pattern.schema) if fnmatchcase(table.name, pattern.name)]
        kept = [table for table in there if not any(_is_meant(each, table) for each in left_out)]
        if not kept:
            names = ", ".join(sorted(table.name for table in session.listed(pattern.schema))[:10])
            what = f"the tables that match '{pattern}' are all excluded" if there else f"no table matches '{pattern}'"
            raise SourceMissing(what, hint=f"there are {names}" if names else "there are no tables at all")
        found |= dict.fromkeys(sorted(kept, key=str))
    return list(found)


def _is_meant(pattern: TableName, table: TableName) -> bool:
    return pattern.schema in (None, table.schema) and fnmatchcase(table.name, pattern.name)


def even_bounds(low: int, high: int, count: int) -> list[str]:
    """At most `count` - 1 whole numbers that part [low, high] evenly, as literals."""
    width = high - low + 1
    found = [low + width * number // count for number in range(1, count)]
    return [str(bound) for bound in dict.fromkeys(found) if bound > low]


def key_ranges(name: str, bounds: Sequence[str]) -> list[str | None]:
    """Conditions on the key `name` that part all rows at `bounds`, those with no key among the first; None: all rows."""
    if not bounds:
        return [None]
    first: list[str | None] = [f"({name} < {bounds[0]} OR {name} IS NULL)"]
    between = [f"({name} >= {low} AND {name} < {high})" for low, high in pairwise(bounds)]
    return [*first, *between, f"{name} >= {bounds[-1]}"]
