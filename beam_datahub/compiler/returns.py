"""What becomes of records that destinations give back while a run is published: letters in the dead letter, and the books."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from beam_datahub.compiler.dead_letter import POSITION, Identity, Provenance, letters
from beam_datahub.compiler.plan import Write, is_aside
from beam_datahub.component.failure import placed
from beam_datahub.component.file_store import store_of
from beam_datahub.component.returned import read_returned
from beam_datahub.component.sink import Committed, Receipt
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import HIDDEN

# Where a row that may be given back came from: the provenance of its batch.
ORIGIN = f"{HIDDEN}origin"

Chosen = Sequence[tuple[Write, tuple[Receipt, ...]]]
Reasons = Mapping[str, Mapping[str, int]]


def with_origin(schema: pa.Schema) -> pa.Schema:
    """The columns that rows are staged with where they may be given back."""
    return schema.append(pa.field(ORIGIN, pa.string())).append(pa.field(POSITION, pa.int64()))


def marked(batch: pa.RecordBatch, given: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with where its rows came from, as `given` knows it: the same rows before they were conformed."""
    rows = batch.num_rows
    places = given.column(POSITION) if POSITION in given.schema.names else pa.nulls(rows, pa.int64())
    origin = pa.repeat(pa.scalar(Provenance.of(given.schema).text, pa.string()), rows)
    return pa.RecordBatch.from_arrays([*batch.columns, origin, places], schema=with_origin(batch.schema))


@dataclass(frozen=True)
class Returns:
    """Where records go that are given back: to the dead letter with what is staged for it; to nowhere but the books where there
    is none.
    """

    identity: Identity
    letter: Write | None = None
    staged: tuple[Receipt, ...] = ()


@dataclass(frozen=True)
class Published:
    """What a commit published, by step, the reasons for which records were given back, and their files."""

    done: Mapping[str, Committed]
    reasons: Reasons = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def forget(self) -> None:
        """Remove the records that were given back: they are in the dead letter, and nobody asks for them again."""
        for path in self.files:
            store_of(path).delete(path)


def gives_back(write: Write) -> bool:
    """Whether a destination may give records back while it publishes."""
    return write.sink.capabilities.returns


def publish_all(chosen: Chosen, returns: Returns, stop: Callable[[int], bool] = lambda _: False) -> Published:
    """Publish destinations, those that may give records back first, then the dead letter with what came back.

    `stop` is asked with the number of records that came back: True leaves the others unpublished. What was published before stays
    as it is. Raises ConnectorError.
    """
    done: dict[str, Committed] = {}
    for write, receipts in chosen:
        if gives_back(write):
            done[write.request.step] = _committed(write, receipts)
    came = {step: each.returned for step, each in done.items() if each.returned is not None}
    is_stopped = stop(sum(each.rows for each in came.values()))
    for write, receipts in chosen:
        if not gives_back(write) and (is_aside(write) or not is_stopped):
            done[write.request.step] = _committed(write, receipts)
    letter = returns.letter
    if letter is not None and (returns.staged or came):
        # A file that is gone was in the dead letter before this try.
        files = {step: each.location for step, each in came.items() if store_of(each.location).exists(each.location)}
        staged = [*returns.staged, *_staged(letter, _letters(returns.identity, files))]
        done[letter.request.step] = _committed(letter, staged)
    reasons = {step: dict(each.reasons) for step, each in came.items()}
    return Published(done, reasons, tuple(each.location for each in came.values()))


def _committed(write: Write, receipts: Sequence[Receipt]) -> Committed:
    with placed(write.place):
        return write.sink.commit(write.request, list(receipts))


def _letters(identity: Identity, files: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    session: KernelSession | None = None
    try:
        for step, path in files.items():
            for rows, found in read_returned(path):
                session = session or KernelSession(threads=1)
                for origin, some, refused in _by_origin(rows, found):
                    yield letters(identity, step, refused, origin, table=some, session=session)
    finally:
        if session is not None:
            session.close()


def _by_origin(rows: pa.Table, found: pa.Table) -> Iterator[tuple[Provenance, pa.Table, pa.Table]]:
    """Neighbouring rows of one origin, without the column that says so, and what is said of them."""
    origins = rows[ORIGIN].to_pylist()
    rows = rows.drop_columns([ORIGIN])
    start = 0
    for end in range(1, len(origins) + 1):
        if end == len(origins) or origins[end] != origins[start]:
            said = found.slice(start, end - start)
            places = pa.array(range(end - start), pa.int64())
            said = said.set_column(said.schema.get_field_index("row"), "row", places)
            yield Provenance.of_text(origins[start]), rows.slice(start, end - start), said
            start = end


def _staged(letter: Write, batches: Iterator[pa.RecordBatch]) -> Sequence[Receipt]:
    with placed(letter.place):
        writer = letter.sink.open(letter.request)
        try:
            for batch in batches:
                writer.write(batch)
            return writer.close()
        except BaseException:
            writer.discard()
            raise


def enter(report: dict[str, Any], reasons: Reasons, letter: str | None) -> None:
    """Enter records that were given back in a run's report, whose books know them as written."""
    found = {(each["step"], each["reason"]): each["records"] for each in report["reasons"]}
    for step, counts in reasons.items():
        rows = sum(counts.values())
        report["rejected"] += rows
        report["books"][step]["rejected"] += rows
        if letter in report["books"]:
            report["books"][letter]["in"] += rows
        for reason, count in counts.items():
            found[step, reason] = found.get((step, reason), 0) + count
    report["reasons"] = [{"step": step, "reason": why, "records": count} for (step, why), count in sorted(found.items())]
