"""Stages rows for a destination: the first half of writing; the second is the commit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from beam_datahub.compiler.commit import receipt_to_json
from beam_datahub.compiler.dead_letter import Identity, Provenance, letters
from beam_datahub.compiler.dofns import KernelDoFn, KernelOptions
from beam_datahub.compiler.plan import Write, is_aside
from beam_datahub.compiler.returns import gives_back, marked, with_origin
from beam_datahub.compiler.tickets import ticket_of
from beam_datahub.component.failure import carried, placed
from beam_datahub.component.sink import Writer, WriteRequest
from beam_datahub.errors import TargetUnusable
from beam_datahub.kernels.session import conform, single_batch


class StageRows(KernelDoFn):
    """Stages what a destination is given; the receipts leave as reports, rows that the destination refuses as rejects."""

    def __init__(self, write: Write, identity: Identity, kernel: KernelOptions) -> None:
        super().__init__(kernel)
        self._sink, self._request, self._place = write.sink, write.request, write.place
        self._identity, self._aside, self._marks = identity, is_aside(write), gives_back(write)
        self._writer: Writer | None = None

    @property
    def _staged(self) -> WriteRequest:
        """What is staged: with rows that may be given back later goes where they came from."""
        schema = self._request.schema
        return replace(self._request, schema=with_origin(schema)) if self._marks else self._request

    def start_bundle(self) -> None:
        """Start afresh, also after a bundle that broke."""
        super().start_bundle()
        self._discard()

    @carried
    def process(self, batch: pa.RecordBatch) -> Iterator[Any]:
        # What is staged under one ticket is published or dropped with it.
        yield from self.turn(ticket_of(batch))
        yield from self.stamp(self._write(batch))

    def _write(self, batch: pa.RecordBatch) -> Iterator[Any]:
        given = batch
        if self._writer is None:
            with placed(self._place):
                self._writer = self._sink.open(self._staged)
        if batch.schema.names != self._request.schema.names or batch.schema.metadata:
            table = pa.Table.from_batches([batch]).select(self._request.schema.names)
            batch = single_batch(conform(table, self._request.schema))
        if self._marks:
            batch = marked(batch, given)
        try:
            with placed(self._place):
                refused = self._writer.write(batch)
                if refused is not None and self._aside:
                    # Of rows that say what was refused there is no record but this one.
                    raise TargetUnusable(f"it refuses a record: {refused['message'][0].as_py()}")
        except BaseException:
            self._discard()
            raise
        step, rejected = self._request.step, 0 if refused is None else refused.num_rows
        self.enter(step, in_=batch.num_rows, rejected=rejected)
        if refused is not None and rejected:
            table = pa.Table.from_batches([given])
            yield self.refuse(
                step, letters(self._identity, step, refused, Provenance.of(given.schema), table=table, session=self.session())
            )

    def told(self) -> Iterator[tuple[str, str]]:
        """What is staged, and the books."""
        if self._writer is not None:
            try:
                with placed(self._place):
                    receipts = self._writer.close()
            except BaseException:
                self._discard()
                raise
            self._writer = None
            for receipt in receipts:
                yield "receipt", receipt_to_json(self._request.step, receipt)
        yield from super().told()

    @carried
    def finish_bundle(self) -> Iterator[Any]:
        yield from self.report()

    def _discard(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.discard()

    def teardown(self) -> None:
        """Drop what an unfinished bundle staged."""
        self._discard()
        super().teardown()
