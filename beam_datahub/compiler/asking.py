"""A lookup as a step of a stage: the source is asked for the keys of each batch, and the batch is joined with what it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from beam_datahub.compiler.answers import KeptAnswers, SharedAnswers
from beam_datahub.compiler.lookup import LookupRun
from beam_datahub.component.failure import placed
from beam_datahub.component.rate_limit import wait_turn
from beam_datahub.kernels.session import conform
from beam_datahub.kernels.types import empty_table, quoted, sql_type

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Ask
    from beam_datahub.compiler.rows import Flow
    from beam_datahub.component.source import Block
    from beam_datahub.kernels.session import KernelSession

# What is counted of a lookup: the keys of all batches, those that were remembered, those that were asked for, and the queries.
LOOKUP_FIGURES = ("keys", "hits", "asked", "queries")


@dataclass
class Asked:
    """What a step asked of a source while a batch passed: the blocks that have rejected records, and figures."""

    step: str
    source: str
    part: str
    refused: list[Block] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)


class AskRun:
    """Joins each batch with what the source has of its keys."""

    def __init__(self, step: str, ask: Ask, left: pa.Schema, schema: pa.Schema) -> None:
        self.step, self._ask = step, ask
        self._join = LookupRun(step, ask.join, ask.source, left, ask.right, schema)
        self._keys = pa.schema([ask.right.field(name) for name in ask.join.right_keys])
        self._kept: KeptAnswers | None = None
        self._shared: SharedAnswers | None = None

    def open(self, session: KernelSession) -> None:
        """Prepare the memory of earlier answers."""
        asking = self._ask.join.asking
        if asking is None:
            return
        if asking.cache.rows:
            self._kept = KeptAnswers(self.step, self._keys, self._ask.right, asking.cache, session)
        if asking.cache.redis is not None:
            self._shared = SharedAnswers(self._ask, self._keys, asking.cache, session)

    def apply(self, flow: Flow, session: KernelSession) -> None:
        """Move the flow through the lookup and enter what became of each row in the books."""
        asked = Asked(self.step, self._ask.source, self._ask.part)
        keys = self._distinct(flow.table, session)
        asked.figures["keys"] += keys.num_rows
        found = list(self._found(keys, flow, session, asked)) if keys.num_rows else []
        self._join.load(pa.concat_tables([empty_table(self._ask.right), *found]), session)
        flow.asked.append(asked)
        self._join.apply(flow, session)

    def _distinct(self, table: pa.Table, session: KernelSession) -> pa.Table:
        """The keys of a batch in the source's types, each once; those that its types cannot hold match nothing there."""
        session.put("input", table)
        pairs = list(zip(self._ask.join.left_keys, self._keys, strict=True))
        items = ", ".join(f"TRY_CAST({quoted(a)} AS {sql_type(b.type)}) AS {quoted(b.name)}" for a, b in pairs)
        known = " AND ".join(f"{quoted(b.name)} IS NOT NULL" for _, b in pairs)
        return conform(session.fetch(f"SELECT DISTINCT * FROM (SELECT {items} FROM input) WHERE {known}"), self._keys)

    def _found(self, keys: pa.Table, flow: Flow, session: KernelSession, asked: Asked) -> Iterator[pa.Table]:
        """The rows that have the keys: of what is kept here, of what workers share, and of the source."""
        wanted = keys
        if self._kept is not None:
            rows, wanted = self._kept.take(keys)
            yield rows
        missing = wanted
        learnt: list[pa.Table] = []
        if self._shared is not None and wanted.num_rows:
            rows, missing = self._shared.take(wanted)
            learnt.append(rows)
        asked.figures["hits"] += keys.num_rows - missing.num_rows
        if missing.num_rows:
            answer = self._answer(missing, flow, session, asked)
            if self._shared is not None:
                self._shared.put(missing, answer)
            learnt.append(answer)
        if self._kept is not None and wanted.num_rows:
            self._kept.put(wanted, pa.concat_tables([empty_table(self._ask.right), *learnt]))
        yield from learnt

    def _answer(self, keys: pa.Table, flow: Flow, session: KernelSession, asked: Asked) -> pa.Table:
        """What the source has of the keys, and nothing else."""
        read, asking = self._ask.read, self._ask.join.asking
        assert asking is not None
        if asking.requests_per_second is not None:
            wait_turn(self._ask.source, asking.requests_per_second)
        asked.figures["queries"] += 1
        asked.figures["asked"] += keys.num_rows
        tables = [empty_table(self._ask.right)]
        books = flow.books[asked.part]
        with placed(read.place):
            for block in read.source.lookup(keys, read.request, timeout_seconds=asking.timeout_seconds):
                refused = 0 if block.rejected is None else block.rejected.num_rows
                if refused:
                    asked.refused.append(block)
                table = pa.Table.from_batches([block.batch]).select(self._ask.right.names)
                tables.append(conform(table, self._ask.right))
                books.add(read=block.batch.num_rows + refused, rejected=refused, out=block.batch.num_rows)
        session.put("answered", pa.concat_tables(tables))
        session.put("asked", keys)
        names = ", ".join(map(quoted, self._keys.names))
        return conform(session.fetch(f"SELECT * FROM answered SEMI JOIN asked USING ({names})"), self._ask.right)


def lookup_figures(found: Mapping[str, Counter[str]]) -> dict[str, dict[str, int]]:
    """What lookups counted, by step, as the report of a run has it."""
    return {step: {name: figures[name] for name in LOOKUP_FIGURES} for step, figures in sorted(found.items())}
