"""Reads and writes with a connector as a run does, without a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Committed, Receipt, Sink, WriteRequest
from beam_datahub.component.source import Block, ReadRequest, Source


@dataclass
class Result:
    """All that a source gave."""

    table: pa.Table
    rejected: list[dict[str, Any]]
    drifted: set[str]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows as Python values."""
        found: list[dict[str, Any]] = self.table.to_pylist()
        return found

    @property
    def reasons(self) -> list[str]:
        """The reason codes of the rejected records, in order."""
        return [row["reason"] for row in self.rejected]


def source(name: str, path: str, **options: Any) -> Source:
    """The file source called `name`; `compression` and `partitions` are options, too."""
    kind = component("source", name)
    connection = {"path": path} | {key: options.pop(key) for key in ("compression", "partitions") if key in options}
    found: Source = kind(kind.Connection(**connection), kind.Options(**options))  # type: ignore[attr-defined]
    return found


def read(source: Source, schema: pa.Schema | None = None, *, columns: Sequence[str] | None = None, **request: Any) -> Result:
    """All that a source gives for a schema (None: the one it discovers), with what every block promises checked."""
    schema = schema if schema is not None else source.discover().schema
    wanted = ReadRequest(schema, tuple(columns if columns is not None else schema.names), **request)
    result = Result(pa.Table.from_batches([], wanted.projected), [], set())
    batches = []
    for split in source.splits(wanted):
        for block in source.read(split, wanted):
            block.batch.validate(full=True)
            assert block.batch.schema.equals(wanted.projected)
            batches.append(block.batch)
            result.drifted.update(block.drifted)
            assert block.positions is None or len(block.positions) == block.batch.num_rows
            result.rejected += _rejected(block)
    result.table = pa.Table.from_batches(batches, wanted.projected)
    return result


def _rejected(block: Block) -> list[dict[str, Any]]:
    """What a block rejects, with original and line."""
    if block.rejected is None:
        return []
    rows: list[int] = block.rejected.column("row").to_pylist()
    assert rows == sorted(set(rows))
    originals = block.originals(rows) if block.originals else [None] * len(rows)
    lines = block.lines(rows) if block.lines else [None] * len(rows)
    facts = zip(block.rejected.to_pylist(), originals, lines, strict=True)
    return [{**fact, "original": original, "line": line} for fact, original, line in facts]


def sink(name: str, path: str, **options: Any) -> Sink:
    """The file destination called `name`; `compression` is an option, too."""
    kind = component("sink", name)
    connection = {"path": path} | {key: options.pop(key) for key in ("compression",) if key in options}
    found: Sink = kind(kind.Connection(**connection), kind.Options(**options))  # type: ignore[attr-defined]
    return found


def stage(sink: Sink, request: WriteRequest, tables: Sequence[pa.Table]) -> list[Receipt]:
    """Stage each table as one bundle."""
    receipts: list[Receipt] = []
    for table in tables:
        writer = sink.open(request)
        try:
            for batch in table.to_batches():
                writer.write(batch)
            receipts += writer.close()
        except BaseException:
            writer.discard()
            raise
    return receipts


def write(sink: Sink, *tables: pa.Table, run: str = "run1", mode: str = "append", schema: pa.Schema | None = None) -> Committed:
    """Write each table as one bundle, and commit."""
    request = WriteRequest(run, "out", schema if schema is not None else tables[0].schema, WriteMode(mode))
    sink.plan_write(request)
    sink.prepare(request)
    return sink.commit(request, stage(sink, request, tables))
