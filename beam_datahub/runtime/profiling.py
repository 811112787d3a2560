"""Profiles data: what a source holds, read to its end; or what passes through a plan that writes nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.component.registry import component
from beam_datahub.component.sink import Committed, Receipt, Writer, WriteRequest
from beam_datahub.component.source import ReadRequest, Source
from beam_datahub.errors import UnknownColumn
from beam_datahub.kernels.profiling import Profile
from beam_datahub.kernels.profiling.background import Profiler

if TYPE_CHECKING:
    from beam_datahub.compiler.plan import Plan


@dataclass(frozen=True)
class DataProfile:
    """What a source holds, and how many of its records could not be read."""

    name: str
    profile: Profile
    rejected: int = 0


def profile_data(
    name: str,
    connector: str,
    path: str,
    *,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    watch: Callable[[int], None] | None = None,
) -> DataProfile:
    """The profile of a file, a folder or a glob; of the named columns, all of them when None.

    `limit` ends each file early; `watch` is told the rows so far. Raises ConnectorError and UnknownColumn.
    """
    kind: Any = component("source", connector)
    source: Source = kind(kind.Connection(path=path).resolved(os.getcwd()), kind.Options())
    schema = source.discover().schema
    check_columns(columns, schema.names)
    threads = os.cpu_count() or 1
    read = tuple(each for each in schema.names if columns is None or each in columns)
    request = ReadRequest(schema=schema, columns=read, limit=limit, threads=threads, dictionaries=True)
    profiler, rejected, rows = Profiler(request.projected, threads=threads), 0, 0
    try:
        for split in source.splits(request):
            for block in source.read(split, request):
                profiler.add(block.batch)
                rejected += block.rejected.num_rows if block.rejected is not None else 0
                rows += block.batch.num_rows
                if watch is not None:
                    watch(rows)
        return DataProfile(name, profiler.finish(), rejected)
    finally:
        profiler.close()


def check_columns(columns: Sequence[str] | None, known: Sequence[str]) -> None:
    """Raise UnknownColumn for a column that is none."""
    for each in columns or ():
        if each not in known:
            raise UnknownColumn(each, known)


def profile_plan(plan: Plan) -> list[DataProfile]:
    """The profiles that a plan asks for, from a run that writes nothing. Raises the run's DataHubError."""
    from beam_datahub.compiler.plan import Node, Write, is_aside
    from beam_datahub.compiler.profiling import sketches
    from beam_datahub.runtime.launch import RunRequest, run
    from beam_datahub.runtime.rows import CollectSink
    from beam_datahub.runtime.run_id import new_run_id

    class Discard(CollectSink):
        """A destination that only counts."""

        def open(self, request: WriteRequest) -> Writer:
            return _Counting()

        def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
            return Committed(sum(receipt.rows for receipt in receipts), 0, ())

    with tempfile.TemporaryDirectory() as folder:
        nodes: dict[str, Node] = {}
        for node in plan:
            if isinstance(node.operator, Write) and not is_aside(node.operator):
                node = node.with_(operator=replace(node.operator, sink=Discard(folder)))
            elif isinstance(node.operator, Write):
                node = node.with_(operator=replace(node.operator, sink=CollectSink(folder)))
            nodes[node.id] = node
        # The rejected records are not kept: there is nothing to seal.
        metadata = {name: value for name, value in plan.metadata.items() if name != "sealed"}
        result = run(replace(plan, nodes=nodes, max_rejected=None, metadata=metadata), RunRequest(new_run_id()))
    if result.error is not None:
        raise result.error
    found = sketches({step: {"sketches": text} for step, text in result.sketches.items()})
    return [DataProfile(step, found[step], result.books.get(step, {}).get("rejected", 0)) for step in result.sketches]


class _Counting(Writer):
    def __init__(self) -> None:
        self._rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows

    def close(self) -> Sequence[Receipt]:
        return [Receipt("", self._rows)]

    def discard(self) -> None:
        """There is nothing to discard."""
