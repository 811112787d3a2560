"""The DoFns that a plan is lowered to; each holds one kernel session and reports its books once a bundle."""

from __future__ import annotations

import json
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
import duckdb
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from beam_datahub.compiler.asking import Asked
from beam_datahub.compiler.dead_letter import POSITION, Identity, Provenance, letters, violations, with_positions
from beam_datahub.compiler.findings import RuleTally, tallies_to_json
from beam_datahub.compiler.increment import new_of, taken
from beam_datahub.compiler.plan import PlanProfile, Read, Stage
from beam_datahub.compiler.profiling import BundleProfile
from beam_datahub.compiler.relations import RelationReader
from beam_datahub.compiler.rows import Tally
from beam_datahub.compiler.stage import StageResult, StageRunner
from beam_datahub.compiler.tickets import stamped, ticket_of, ticketed
from beam_datahub.component.failure import carried, placed
from beam_datahub.component.progress import PROGRESS
from beam_datahub.component.source import Block, Relation, Split
from beam_datahub.component.told_progress import tell_progress
from beam_datahub.errors import Interrupted
from beam_datahub.kernels.increment import Taking
from beam_datahub.kernels.session import KernelSession, batches_of, conform, single_batch
from beam_datahub.kernels.types import empty_table

REJECTED, REPORT, VIOLATING = "rejected", "report", "violating"


# The DoFns of this process whose sessions may be open.
_LIVE: weakref.WeakSet[beam.DoFn] = weakref.WeakSet()


def close_sessions() -> None:
    """Close what workers in this process left open, because their engine went away under them."""
    for dofn in list(_LIVE):
        # One that a job left in the middle of its work goes with the process.
        with suppress(Exception):
            dofn.teardown()


@dataclass(frozen=True)
class KernelOptions:
    """How kernel sessions are set up: threads of one session (None: all cores), DuckDB's memory budget in bytes, and
    where it spills. `progress` is the folder in which workers leave how far they are, None where the launcher sees it anyway.
    """

    threads: int | None = None
    memory_bytes: int | None = None
    spill_dir: str | None = None
    progress: str | None = None


class KernelDoFn(beam.DoFn):
    """A DoFn with a kernel session and books, which leave as one report at the end of the bundle."""

    def __init__(self, kernel: KernelOptions) -> None:
        self._kernel = kernel
        self._session: KernelSession | None = None
        self._books: dict[str, Tally] = {}
        self._ticket: str | None = None
        self._more: list[tuple[str, str]] = []

    def session(self) -> KernelSession:
        """The session of this worker, opened when it is first needed."""
        if self._session is None:
            _LIVE.add(self)
            self._session = self._opened()
        return self._session

    def _opened(self, file: str | None = None) -> KernelSession:
        kernel = self._kernel
        return KernelSession(threads=kernel.threads, memory_bytes=kernel.memory_bytes, spill_dir=kernel.spill_dir, file=file)

    def start_bundle(self) -> None:
        """Open new books."""
        self._books = defaultdict(Tally)
        self._ticket, self._more = None, []

    def turn(self, ticket: str | None) -> Iterator[Any]:
        """Work on another ticket from here on: what there is to report of the one before leaves."""
        if ticket != self._ticket:
            yield from self.report()
            self._ticket = ticket

    def stamp(self, outputs: Iterator[Any]) -> Iterator[Any]:
        """Batches among the outputs with the ticket that is worked on, of a stream."""
        ticket = self._ticket
        if ticket is None:
            yield from outputs
            return
        for each in outputs:
            if isinstance(each, pa.RecordBatch):
                yield stamped(each, ticket)
            elif isinstance(each, beam.pvalue.TaggedOutput) and isinstance(each.value, pa.RecordBatch):
                yield beam.pvalue.TaggedOutput(each.tag, stamped(each.value, ticket))
            else:
                yield each

    def enter(self, step: str, **terms: int) -> None:
        """Enter terms in the books of a step."""
        self._books[step].add(**terms)
        for term, count in terms.items():
            if count:
                PROGRESS.add(step, term.rstrip("_"), count)
        if self._kernel.progress is not None:
            tell_progress(self._kernel.progress)
        if PROGRESS.stopping:
            raise Interrupted("the run was stopped")

    def merge(self, books: dict[str, Tally]) -> None:
        """Enter the books of a batch."""
        for step, tally in books.items():
            self.enter(step, **{f"{term}_": count for term, count in tally.counts.items()})

    def refuse(self, step: str, letter: pa.RecordBatch) -> Any:
        """The dead letter's records as a tagged element, entered in the books by their reason."""
        for each in letter["reason"].value_counts().to_pylist():
            self._books[step].add(**{f"reason:{each['values']}": each["counts"]})
        return beam.pvalue.TaggedOutput(REJECTED, letter)

    def told(self) -> Iterator[tuple[str, str]]:
        """What there is to report of the bundle, or of its ticket: the books."""
        if self._books:
            yield "books", json.dumps({step: tally.counts for step, tally in self._books.items()})
        self._books = defaultdict(Tally)
        yield from self._more
        self._more = []

    def add_report(self, kind: str, body: str) -> None:
        """Report something with what there is to report anyway."""
        self._more.append((kind, body))

    def report(self) -> Iterator[Any]:
        """What there is to report as tagged elements; what has to arrive together, as that of one ticket, is one of them."""
        whole = bool(self._more)
        found: list[tuple[str, str]] = list(self.told())
        if found and (self._ticket is not None or whole):
            found = [ticketed(found, self._ticket)]
        for each in found:
            yield beam.pvalue.TaggedOutput(REPORT, _global(each))

    def teardown(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is not None:
            # A job that is cancelled lets its workers go in the middle of their work.
            with suppress(duckdb.Error):
                session.close()


def _global(value: Any) -> WindowedValue:
    return WindowedValue(value, GlobalWindow().max_timestamp(), (GlobalWindow(),))


class ListSplits(beam.DoFn):
    """Lists the splits of a source; up to where they read leaves as a report."""

    def __init__(self, source: str, read: Read) -> None:
        self._source, self._read = source, read

    @carried
    def process(self, element: Any) -> Iterator[Any]:
        reached: dict[str, Any] = {}
        with placed(self._read.place):
            for split in self._read.source.splits(self._read.request):
                reached.update(split.reached)
                yield split
        if reached:
            yield beam.pvalue.TaggedOutput(REPORT, ("position", json.dumps({"source": self._source, "reached": reached})))


class RunStage(KernelDoFn):
    """Runs the row-wise steps of a stage over batches, or over what it reads from splits.

    `carry`: rows keep their positions, because a later stage may reject one. `records`: rows that fail quality rules leave
    as violations. `profile`: what it reads is profiled.
    """

    def __init__(
        self,
        stage: Stage,
        identity: Identity,
        kernel: KernelOptions,
        *,
        carry: bool,
        records: bool = False,
        profile: PlanProfile | None = None,
    ) -> None:
        super().__init__(kernel)
        self._stage, self._identity, self._carry, self._records = stage, identity, carry, records
        self._tallies: dict[str, RuleTally] = {}
        self._profile = BundleProfile(profile, kernel.threads) if profile is not None else None
        self._runner: StageRunner | None = None
        self._taking: Taking | None = None
        self._reader: RelationReader | None = None
        self._lookups: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._loaded = False
        self._drifted: set[str] = set()

    @carried
    def process(self, element: Any, *sides: Any) -> Iterator[Any]:
        self.open()
        assert self._runner is not None
        if not self._loaded:
            for run, batches in zip(self._runner.lookups, sides, strict=True):
                schema = self._stage.sides[run.step][1]
                rows = [pa.Table.from_batches([b]).select(schema.names) for b in batches]
                run.load(pa.concat_tables([empty_table(schema), *(conform(t, schema) for t in rows)]), self.session())
            self._loaded = True
        if isinstance(element, Split):
            yield from self._read(element)
            return
        yield from self.turn(ticket_of(element))
        yield from self.stamp(self._step(element))

    def open(self) -> None:
        """Compile the steps, when they are first needed."""
        if self._runner is None:
            self._runner = StageRunner(self._stage, track=self._carry)
            self._runner.open(self.session)
            # Where a record comes from, and all that it had, only blocks tell.
            alone = not self._carry and self._profile is None
            if alone and self._stage.read is not None and self._runner.takes_relations:
                self._reader = RelationReader(self._stage.read, self._opened)

    @property
    def takes_dictionaries(self) -> bool:
        """Whether text may come dictionary-encoded."""
        return self._runner is not None and self._runner.takes_dictionaries

    def _read(self, split: Split) -> Iterator[Any]:
        read = self._stage.read
        source_id = self._stage.read_id
        assert read is not None
        assert source_id is not None
        assert self._runner is not None
        relations: Sequence[Relation] = ()
        if self._reader is not None:
            with placed(read.place):
                relations = self._reader.relations(split)
        for relation in relations:
            assert self._reader is not None
            result = self._reader.run(relation, self._runner, self.session)
            if result is None:
                yield from self._read_blocks(read, source_id, relation.split)
                continue
            self.enter(source_id, read=relation.rows, out=relation.rows)
            yield from self._drift(source_id, relation.drifted)
            self._enter_result(result)
            yield from batches_of(result.table)
        if not relations:
            yield from self._read_blocks(read, source_id, split)

    def _read_blocks(self, read: Read, source_id: str, split: Split) -> Iterator[Any]:
        assert self._runner is not None
        messages = []
        for block in _blocks(read, split, dictionaries=self._runner.takes_dictionaries):
            if block.taken is not None:
                messages.append(block.taken)
            yield from self.take(read, source_id, block)
        if messages:
            yield beam.pvalue.TaggedOutput(REPORT, ("taken", json.dumps({"source": source_id, "taken": messages})))

    def take(self, read: Read, source_id: str, block: Block) -> Iterator[Any]:
        """Enter a block that was read, and run the steps over it."""
        provenance = Provenance(source_id, block.origin)
        refused = others = 0
        if read.increment is not None:
            self._taking = self._taking or Taking(read.increment)
            block, others = new_of(block, self._taking, read.increment, read.columns or read.request.columns)
        if block.rejected is not None and block.rejected.num_rows:
            refused = block.rejected.num_rows
            found = letters(self._identity, source_id, block.rejected, provenance, block=block, session=self.session())
            yield self.refuse(source_id, found)
        rows = block.batch.num_rows
        self.enter(source_id, read=rows + refused + others, rejected=refused, filtered=others, out=rows)
        if self._profile is not None:
            self._profile.add(block.batch)
        yield from self._drift(source_id, block.drifted)
        yield from self._run(pa.Table.from_batches([block.batch]), provenance, block=block)

    def _drift(self, source_id: str, columns: Sequence[str]) -> Iterator[Any]:
        for column in columns:
            if column not in self._drifted:
                self._drifted.add(column)
                yield beam.pvalue.TaggedOutput(REPORT, ("drift", json.dumps({"source": source_id, "column": column})))

    def _step(self, batch: pa.RecordBatch) -> Iterator[Any]:
        table = pa.Table.from_batches([batch])
        plain = table.drop_columns([POSITION]) if POSITION in table.schema.names else table
        yield from self._run(plain.replace_schema_metadata(None), Provenance.of(batch.schema), carried=table)

    def _run(
        self, table: pa.Table, provenance: Provenance, *, block: Block | None = None, carried: pa.Table | None = None
    ) -> Iterator[Any]:
        assert self._runner is not None
        result = self._runner.run(table, self.session())
        for step, found in result.rejected:
            if block is not None and block.positions is not None:
                found = found.set_column(0, found.schema.field(0), block.positions.take(found["row"].combine_chunks()))
            letter = letters(
                self._identity, step.split("#")[0], found, provenance, block=block, table=carried, session=self.session()
            )
            yield self.refuse(step, letter)
        for asked in result.asked:
            yield from self._asked(asked)
        for broken in result.findings.broken if self._records else ():
            if block is not None and block.positions is not None:
                broken = replace(broken, rows=block.positions.take(broken.rows))
            batch = violations(self._identity, broken, provenance, self.session(), block=block, table=carried)
            yield beam.pvalue.TaggedOutput(VIOLATING, batch)
        self._enter_result(result)
        if not result.table.num_rows:
            return
        if not self._carry:
            yield from batches_of(result.table)
            return
        positions = result.rows
        if block is not None and block.positions is not None:
            positions = block.positions if positions is None else block.positions.take(positions)
        if carried is not None:
            if POSITION not in carried.schema.names:
                yield single_batch(result.table)
                return
            held = carried[POSITION].combine_chunks()
            moved = held if positions is None else held.take(positions)
            batch = single_batch(result.table.append_column(POSITION, moved))
            yield batch.replace_schema_metadata(provenance.onto(batch.schema).metadata)
            return
        yield with_positions(result.table, positions, provenance)

    def _enter_result(self, result: StageResult) -> None:
        for rule, tally in result.findings.tallies.items():
            self._tallies.setdefault(rule, RuleTally()).add(tally)
        self.merge(result.books)

    def _asked(self, asked: Asked) -> Iterator[Any]:
        """What a source refused of what it was asked for, as records of the dead letter."""
        self._lookups[asked.step] += asked.figures
        for block in asked.refused:
            provenance = Provenance(asked.source, block.origin)
            assert block.rejected is not None
            found = letters(self._identity, asked.source, block.rejected, provenance, block=block, session=self.session())
            yield self.refuse(asked.part, found)

    def start_bundle(self) -> None:
        """Start afresh, also after a bundle that broke."""
        super().start_bundle()
        self._lookups.clear()
        self._tallies, self._taking = {}, None
        if self._profile is not None:
            self._profile.discard()

    def told(self) -> Iterator[tuple[str, str]]:
        """The books, how the rules did, what is new, and the profile."""
        if self._tallies:
            yield "quality", tallies_to_json(self._tallies)
            self._tallies = {}
        for step, figures in self._lookups.items():
            yield "lookup", json.dumps({"step": step, **figures})
        self._lookups.clear()
        yield from taken(self._stage.read_id or "", self._taking)
        self._taking = None
        if self._profile is not None:
            yield from self._profile.report()
        yield from super().told()

    @carried
    def finish_bundle(self) -> Iterator[Any]:
        # What a stream looks up stays as it was when it began.
        self._loaded = self._ticket is not None
        yield from self.report()

    def teardown(self) -> None:
        """End what an unfinished bundle began."""
        if self._profile is not None:
            self._profile.discard()
        if self._reader is not None:
            self._reader.close()
        super().teardown()


def _blocks(read: Read, split: Split, *, dictionaries: bool) -> Iterator[Block]:
    with placed(read.place):
        yield from read.source.read(split, replace(read.request, dictionaries=dictionaries))
