"""Builds the records of the dead letter: what was rejected, where it came from, and its original form."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.compiler.findings import Broken
from beam_datahub.component.source import Block, Origin
from beam_datahub.kernels.arrays import integers, numbers, repeated, texts
from beam_datahub.kernels.rejection import ATTEMPTS, DEAD_LETTER, RECORD, ROW, VIOLATION
from beam_datahub.kernels.session import KernelSession, single_batch
from beam_datahub.kernels.types import HIDDEN, is_hidden, quoted
from beam_datahub.security.sealing import sealer_in_use

POSITION = f"{HIDDEN}position"
# What of a rejected record may show its values.
SEALED_COLUMNS = ("original", "message")
_ORIGIN = b"beam_datahub.origin"


@dataclass(frozen=True)
class Identity:
    """Whose dead letter it is; `sealed`: originals and messages can be read only with the store's key."""

    run_id: str
    integration: str
    sealed: bool = False


@dataclass(frozen=True)
class Provenance:
    """Where the rows of a batch came from: the source's id and the origin of the block."""

    source: str | None = None
    origin: Origin = field(default_factory=Origin)

    def onto(self, schema: pa.Schema) -> pa.Schema:
        """`schema` with this provenance as metadata."""
        return schema.with_metadata({_ORIGIN: self.text.encode()})

    @property
    def text(self) -> str:
        """The provenance as a text, which `of_text` reads."""
        return json.dumps({"source": self.source, **asdict(self.origin)})

    @classmethod
    def of(cls, schema: pa.Schema) -> Provenance:
        """The provenance in a schema's metadata, if any."""
        return cls.of_text((schema.metadata or {}).get(_ORIGIN))

    @classmethod
    def of_text(cls, text: str | bytes | None) -> Provenance:
        """The provenance that a text tells."""
        if text is None:
            return cls()
        facts = json.loads(text)
        return cls(facts.pop("source"), Origin(**facts))


def letters(
    identity: Identity,
    step: str,
    found: pa.Table,
    provenance: Provenance,
    *,
    block: Block | None = None,
    table: pa.Table | None = None,
    session: KernelSession | None = None,
) -> pa.RecordBatch:
    """Dead-letter records for a REJECTION table.

    Its `row` counts positions of `block` (records as the source read them), or rows of `table`, a step's input, whose
    rows then are the originals.
    """
    rows = found["row"].to_pylist()
    lines: Sequence[int | None] = [None] * len(rows)
    if block is not None:
        originals: Sequence[str | None] = block.originals(rows) if block.originals else _of_batch(block, rows, session)
        lines = block.lines(rows) if block.lines else lines
        ordinals: Any = pc.add(found["row"], numbers(np.array([provenance.origin.first_row]))[0])
    elif table is not None and session is not None:
        taken = table.take(found["row"].combine_chunks())
        originals = _as_json(taken, session)
        ordinals = taken[POSITION].to_pylist() if POSITION in table.schema.names else [None] * len(rows)
    else:
        originals, ordinals = [None] * len(rows), [None] * len(rows)
    origin = provenance.origin
    values = [
        identity.run_id,
        identity.integration,
        step,
        found["reason"],
        found["message"],
        found["column"],
        provenance.source,
        origin.file,
        lines,
        origin.byte_start,
        origin.byte_end,
        ordinals,
        originals,
        RECORD if block is not None else ROW,
        _now(),
        pc.fill_null(found[ATTEMPTS], 1) if ATTEMPTS in found.column_names else 1,
    ]
    arrays = [_letter_column(value, field.type, len(rows)) for value, field in zip(values, DEAD_LETTER, strict=True)]
    if identity.sealed:
        for name in SEALED_COLUMNS:
            index = DEAD_LETTER.get_field_index(name)
            arrays[index] = _sealed(arrays[index], seal_context(identity.integration, name))
    return pa.RecordBatch.from_arrays(arrays, schema=DEAD_LETTER)


def seal_context(integration: str, column: str) -> str:
    """What a sealed text of the dead letter belongs to: it opens nowhere else."""
    return f"dead-letter/{integration}/{column}"


def _sealed(texts: pa.Array, context: str) -> pa.Array:
    """Texts that show nothing without the key of this process. Raises WrongKey where it has none."""
    sealer = sealer_in_use()
    found = [None if text is None else sealer.seal(text.encode("utf-8", "surrogatepass"), context) for text in texts.to_pylist()]
    return pa.array(found, pa.string())


def violations(
    identity: Identity,
    found: Broken,
    provenance: Provenance,
    session: KernelSession,
    *,
    block: Block | None = None,
    table: pa.Table | None = None,
) -> pa.RecordBatch:
    """Records for rows that fail quality rules; the rows of `found` are positions of `block`, or rows of the step's input."""
    count = len(found.rows)
    origin = provenance.origin
    lines: Sequence[int | None] = [None] * count
    ordinals: Any = pa.nulls(count, pa.int64())
    if block is not None:
        lines = block.lines(found.rows.to_pylist()) if block.lines else lines
        ordinals = pc.add(found.rows, origin.first_row)
    elif table is not None and POSITION in table.schema.names:
        ordinals = table[POSITION].combine_chunks().take(found.rows)
    values = [
        identity.run_id,
        identity.integration,
        found.step,
        found.rules,
        found.severity,
        found.messages,
        provenance.source,
        origin.file,
        list(lines),
        origin.byte_start,
        origin.byte_end,
        ordinals,
        _as_json(found.table, session),
        _now(),
    ]
    arrays = [_letter_column(value, field.type, count) for value, field in zip(values, VIOLATION, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=VIOLATION)


def _letter_column(value: Any, data_type: pa.DataType, count: int) -> pa.Array:
    """A column of the dead letter: a value for each record, or one that all of them share."""
    if isinstance(value, pa.ChunkedArray):
        return value.combine_chunks()
    if isinstance(value, pa.Array):
        return value
    if not isinstance(value, list):
        return repeated(value, data_type, count)
    return texts(value) if pa.types.is_string(data_type) else integers(value)


def _now() -> int:
    """The time in microseconds since 1970."""
    return time.time_ns() // 1000


def _of_batch(block: Block, rows: list[int], session: KernelSession | None) -> Sequence[str | None]:
    """The rows of a block whose source keeps no other form of them: what the batch itself holds."""
    if session is None:
        return [None] * len(rows)
    table = pa.Table.from_batches([block.batch])
    if block.positions is None:
        return _as_json(table.take(rows), session)
    indices = pc.index_in(pa.array(rows, pa.int64()), value_set=block.positions)
    return _as_json(table.take(indices), session)


def _as_json(table: pa.Table, session: KernelSession) -> list[str]:
    names = [name for name in table.schema.names if not is_hidden(name)]
    session.put("originals", table)
    packed = ", ".join(f"{quoted(name)} := {quoted(name)}" for name in names)
    found = session.fetch(f"SELECT CAST(to_json(struct_pack({packed})) AS VARCHAR) AS j FROM originals")
    session.drop("originals")
    return [str(text) for text in found["j"].to_pylist()]


def with_positions(table: pa.Table, positions: pa.Array | None, provenance: Provenance) -> pa.RecordBatch:
    """`table` as a batch that remembers where its rows came from, for a later stage that may reject one."""
    first = provenance.origin.first_row
    rows = positions if positions is not None else pa.array(np.arange(table.num_rows), pa.int64())
    carried = table.append_column(POSITION, pc.add(rows.cast(pa.int64()), first))
    return single_batch(carried).replace_schema_metadata(provenance.onto(carried.schema).metadata)
