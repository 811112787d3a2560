"""The DoFns of a shuffle: reduce what a bundle has, split by key hash, and finish each shard with one query."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import apache_beam as beam
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.compiler.dofns import KernelDoFn, KernelOptions, _global
from beam_datahub.compiler.plan import Exchange, Shuffle
from beam_datahub.compiler.rows import ROW, engine_words
from beam_datahub.compiler.tickets import bound_of, is_again, stamped, ticket_of
from beam_datahub.component.failure import carried
from beam_datahub.component.progress import PROGRESS
from beam_datahub.component.source import BATCH_BYTES
from beam_datahub.errors import Interrupted, StepFailed
from beam_datahub.kernels.session import KernelSession, conform, single_batch
from beam_datahub.kernels.types import HIDDEN, empty_table, quoted
from beam_datahub.kernels.windows import END, FIRST, Window

_SIDE, _REDUCED = b"beam_datahub.side", b"beam_datahub.reduced"
_SHARD = f"{HIDDEN}shard"
_ROW_FIELD = pa.field(ROW, pa.int64())
# Rows are gathered to this many bytes before they are split, so that the pieces of a shard are not tiny.
_GATHER_BYTES = 4 * BATCH_BYTES


class _Pump:
    """A query that reads the bundle's batches as they come, in a thread of its own: memory holds groups, not rows."""

    def __init__(self, session: KernelSession, sql: str, schema: pa.Schema) -> None:
        self._queue: queue.Queue[pa.RecordBatch | None] = queue.Queue(maxsize=4)
        self._result: list[pa.RecordBatch] = []
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(session, sql, schema), daemon=True)
        self._thread.start()

    def _run(self, session: KernelSession, sql: str, schema: pa.Schema) -> None:
        try:
            self._result = list(session.stream(sql, "input", iter(self._queue.get, None), schema))
        except BaseException as error:
            self._error = error
        finally:
            self._done.set()

    def put(self, batch: pa.RecordBatch | None) -> None:
        """Give the query a batch, or None for the end. Raises what the query raised."""
        while not self._done.is_set():
            if PROGRESS.stopping:
                raise Interrupted("the run was stopped")
            try:
                self._queue.put(batch, timeout=0.2)
                return
            except queue.Full:
                continue
        if self._error is not None:
            raise self._error

    def result(self) -> list[pa.RecordBatch]:
        """Close the input and wait for the rows."""
        self.put(None)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self) -> None:
        """Give up: drain the queue so that the thread ends."""
        while not self._done.is_set():
            try:
                self._queue.put(None, timeout=0.05)
            except queue.Full:
                try:
                    self._queue.get_nowait()
                except queue.Empty:
                    continue


@contextmanager
def _broken(step: str) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        raise StepFailed(f"step '{step.split('#')[0]}' broke: {engine_words(error)}") from error


class SplitByKey(KernelDoFn):
    """Runs the `before` query of an exchange over the bundle, if it has one, and splits rows by the hash of their keys.

    `streams`: rows go on one batch at a time to the `window` that they wait for. `before` reduces only those of them that are
    certainly not late for it; the others go on just as they came, for each that is late is rejected. Windows may be over up to
    `since`.
    """

    def __init__(
        self,
        step: str,
        exchange: Exchange,
        side: int,
        source: pa.Schema,
        shards: int,
        kernel: KernelOptions,
        *,
        streams: bool = False,
        window: Window | None = None,
        since: int = FIRST,
    ) -> None:
        super().__init__(kernel)
        self._streams, self._since = streams, since
        self._reduces = window is not None and _reduces(window, exchange, source)
        self._step, self._exchange, self._side, self._input, self._shards = step, exchange, side, source, shards
        self._pump: _Pump | None = None
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0

    def start_bundle(self) -> None:
        """Start afresh, also after a bundle that broke."""
        super().start_bundle()
        self._cancel()
        self._held, self._bytes = [], 0

    @carried
    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        ticket, bound = ticket_of(batch), bound_of(batch)
        if batch.schema.names != self._input.names or batch.schema.metadata:
            batch = single_batch(conform(pa.Table.from_batches([batch]).select(self._input.names), self._input))
        if self._streams:
            yield from self.turn(ticket)
            if bound is not None:
                # Nothing that is read again comes too late.
                bound = FIRST if is_again(ticket) else max(bound, self._since)
            for table, reduced in self._reduced(batch, bound if self._reduces else None):
                for shard, part in self._split(table, reduced=reduced):
                    yield (shard, part if ticket is None else stamped(part, ticket))
            return
        if self._exchange.before is not None:
            if self._pump is None:
                self._pump = _Pump(self.session(), self._exchange.before, self._input)
            self.enter(f"{self._step}#before", in_=batch.num_rows)
            with _broken(self._step):
                self._pump.put(batch)
            return
        self.enter(f"{self._step}#split{self._side}", in_=batch.num_rows, out=batch.num_rows)
        self._held.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= _GATHER_BYTES:
            yield from self._split(self._take())

    def _reduced(self, batch: pa.RecordBatch, bound: int | None) -> Iterator[tuple[pa.Table, bool]]:
        """Rows of a stream, those whose windows end behind `bound` reduced; and whether they are."""
        rows, merged = pa.Table.from_batches([batch]), 0
        sure = None if bound is None else pc.greater(batch[END].cast(pa.int64()), pa.scalar(bound, pa.int64()))
        if sure is not None and pc.any(sure).as_py():
            with _broken(self._step):
                all_sure = pc.all(sure).as_py()
                self.session().put("input", rows if all_sure else rows.filter(sure))
                found = conform(self.session().fetch(str(self._exchange.before)), self._exchange.schema)
                self.session().drop("input")
            rows = rows.slice(0, 0) if all_sure else rows.filter(pc.invert(sure))
            merged = batch.num_rows - rows.num_rows - found.num_rows
            yield found, True
        self.enter(f"{self._step}#split{self._side}", in_=batch.num_rows, out=batch.num_rows - merged, merged=merged)
        if rows.num_rows:
            yield rows, False

    def _take(self) -> pa.Table:
        table = pa.Table.from_batches(self._held, self._input)
        self._held, self._bytes = [], 0
        return table

    def _split(self, table: pa.Table, *, reduced: bool = False) -> Iterator[tuple[int, pa.RecordBatch]]:
        table = table.replace_schema_metadata({_SIDE: str(self._side).encode(), **({_REDUCED: b"1"} if reduced else {})})
        keys = self._exchange.keys
        if not keys or self._shards == 1:
            for batch in table.combine_chunks().to_batches():
                yield (0, batch)
            return
        self.session().put("input", table)
        # DuckDB's hash is the same in every process of a run: all of them have the same pinned version.
        found = self.session().fetch(f"SELECT (hash({', '.join(keys)}) % {self._shards})::UINTEGER AS {_SHARD} FROM input")
        shard = np.asarray(found[_SHARD].combine_chunks())
        # One gather in shard order and slices of it: cheaper than a filter per shard.
        ordered = single_batch(table).take(pa.array(np.argsort(shard, kind="stable")))
        start = 0
        for number, count in enumerate(np.bincount(shard, minlength=self._shards).tolist()):
            if count:
                yield (number, ordered.slice(start, count))
            start += count

    @carried
    def finish_bundle(self) -> Iterator[Any]:
        if self._pump is not None:
            with _broken(self._step):
                found = self._pump.result()
            self._pump = None
            schema = self._exchange.schema
            result = conform(pa.Table.from_batches(found), schema) if found else empty_table(schema)
            came = self._books[f"{self._step}#before"].counts["in"]
            self.enter(f"{self._step}#before", out=result.num_rows, merged=came - result.num_rows)
            for item in self._split(result):
                yield _global(item)
        elif self._held:
            for item in self._split(self._take()):
                yield _global(item)
        yield from self.report()

    def teardown(self) -> None:
        """End a query whose bundle failed."""
        self._cancel()
        super().teardown()

    def _cancel(self) -> None:
        pump, self._pump = self._pump, None
        if pump is not None:
            pump.cancel()


def _reduces(window: Window, exchange: Exchange, source: pa.Schema) -> bool:
    """Whether rows may be reduced before they come to their windows: where these are known by then, where nobody counts the
    rows that wait, and where what is reduced meets the rows of its key that are not.
    """
    kinds = {quoted(field.name): field.type for field in source}
    same = all(kinds.get(quoted(each.name)) == each.type for each in exchange.schema if quoted(each.name) in exchange.keys)
    by_time = window.kind in ("fixed", "sliding", "calendar") and (window.early is None or window.early.rows is None)
    return exchange.before is not None and by_time and same and {END} <= {*exchange.schema.names} & {*source.names}


def is_reduced(batch: pa.RecordBatch) -> bool:
    """Whether the rows of a stream were reduced before they came to their windows."""
    return _REDUCED in (batch.schema.metadata or {})


class _Matched:
    """Counts the left rows that came out of a join (`rows`), and the right rows that came out on their own (`alone`)."""

    def __init__(self) -> None:
        self._seen = np.zeros(0, dtype=bool)
        self.alone = 0

    @property
    def rows(self) -> int:
        return int(self._seen.sum())

    def add(self, numbers: pa.Array) -> None:
        """Take in the numbers of left rows, null where there is none."""
        self.alone += numbers.null_count
        found = numbers.drop_null().to_numpy()
        if len(found) and (last := int(found.max())) >= len(self._seen):
            self._seen = np.concatenate([self._seen, np.zeros(max(last + 1, 2 * len(self._seen)) - len(self._seen), dtype=bool)])
        self._seen[found] = True


class FinishShard(KernelDoFn):
    """Runs the `after` query of a shuffle over the rows of a shard."""

    def __init__(self, step: str, shuffle: Shuffle, kernel: KernelOptions) -> None:
        super().__init__(kernel)
        self._step, self._shuffle = step, shuffle

    @carried
    def process(self, shard: tuple[int, Iterable[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        _, batches = shard
        shuffle = self._shuffle
        left, *right = (exchange.schema for exchange in shuffle.exchanges)
        came = [0, 0]

        def of(side: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                if _side(batch) == side:
                    came[side] += batch.num_rows
                    yield batch if batch.schema.equals(schema, check_metadata=True) else batch.replace_schema_metadata(None)

        def numbered() -> Iterator[pa.RecordBatch]:
            for batch in of(0, left):
                rows = np.arange(came[0] - batch.num_rows, came[0])
                yield batch.append_column(ROW, pa.array(rows, pa.int64()))

        first, matched = (numbered(), _Matched()) if right else (of(0, left), None)
        went = 0
        with _broken(self._step):
            if right:
                self.session().load("other", of(1, right[0]), right[0])
            schema = left.append(_ROW_FIELD) if right else left
            for batch in self.session().stream(shuffle.after, "input", first, schema):
                went += batch.num_rows
                if matched is not None:
                    matched.add(batch[ROW])
                    batch = batch.select(shuffle.schema.names)
                if batch.num_rows:
                    yield single_batch(conform(pa.Table.from_batches([batch]), shuffle.schema))
            # The query need not read on once it knows its answer, as that of a join with nothing; the books count all rows.
            for _ in first:
                continue
        if matched is not None:
            self._enter_join(came, went, matched)
        else:
            self.enter(self._step, in_=came[0], out=went, merged=max(came[0] - went, 0), added=max(went - came[0], 0))

    def _enter_join(self, came: list[int], went: int, matched: _Matched) -> None:
        # What a broadcast join enters, too: a left row comes out, once or more often, or is filtered; right rows are used up.
        left, right = came
        self.enter(self._step, in_=left + right, out=went, filtered=left - matched.rows)
        self.enter(self._step, merged=right - matched.alone, added=went - matched.alone - matched.rows)

    @carried
    def finish_bundle(self) -> Iterator[Any]:
        yield from self.report()


def _side(batch: pa.RecordBatch) -> int:
    return int((batch.schema.metadata or {}).get(_SIDE, b"0"))


class Seed(beam.DoFn):
    """Gives shard 0 an empty batch, so that an aggregate over nothing still has its one row."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema

    def process(self, element: Any) -> Iterator[tuple[int, pa.RecordBatch]]:
        yield (0, single_batch(empty_table(self._schema)))
