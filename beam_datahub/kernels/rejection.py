"""Rejected rows: what a kernel says of them, and the form in which the dead letter keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from beam_datahub.kernels.types import empty_table

# What a kernel reports: `row` is the position in the batch that it was given. One that tries rows several
# times adds how often as the column ATTEMPTS.
REJECTION = pa.schema(
    [("row", pa.int64()), ("reason", pa.string()), ("message", pa.string()), ("column", pa.string())],
)

ATTEMPTS = "attempts"

# What `original` holds: the record as its source gave it, or what came into the step because other steps had changed it.
RECORD, ROW = "record", "row"

# A record of the dead letter; `form` is RECORD or ROW.
DEAD_LETTER = pa.schema(
    [
        ("run_id", pa.string()),
        ("integration", pa.string()),
        ("step", pa.string()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("column", pa.string()),
        ("source", pa.string()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("byte_start", pa.int64()),
        ("byte_end", pa.int64()),
        ("row", pa.int64()),
        ("original", pa.string()),
        ("form", pa.string()),
        ("rejected_at", pa.timestamp("us", tz="UTC")),
        (ATTEMPTS, pa.int64()),
    ]
)


# A record that fails quality rules and goes on: all names of the rules, the worst severity, and the row as the step has it.
VIOLATION = pa.schema(
    [
        ("run_id", pa.string()),
        ("integration", pa.string()),
        ("step", pa.string()),
        ("rules", pa.list_(pa.field("item", pa.string()))),
        ("severity", pa.string()),
        ("message", pa.string()),
        ("source", pa.string()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("byte_start", pa.int64()),
        ("byte_end", pa.int64()),
        ("row", pa.int64()),
        ("record", pa.string()),
        ("found_at", pa.timestamp("us", tz="UTC")),
    ]
)


@dataclass(frozen=True)
class Reason:
    """A reason code of the dead letter and what it means; `REASONS` lists them for the reference."""

    code: str
    meaning: str


REASONS: tuple[Reason, ...] = (
    Reason("malformed", "the source could not parse the record"),
    Reason("ragged", "the record has more or fewer fields than the header"),
    Reason("encoding", "the record is not valid in the declared encoding"),
    Reason("type_mismatch", "a value does not fit the declared or discovered type of its column"),
    Reason("contract", "the record has a column or a type that the source's contract discards"),
    Reason("unchanged_value", "a change leaves a large value alone, and the database's log does not have it"),
    Reason("missing_image", "the database has not kept how a document was after a change"),
    Reason("no_cursor", "the column that tells new records of an incremental source is null"),
    Reason("no_event_time", "the column that a window goes by is null"),
    Reason("late", "the record came after its window had been closed: the watermark had passed its end and the allowed lateness"),
    Reason("cast_failed", "a value could not be converted to the wanted type"),
    Reason("expression_failed", "an expression raised an error on the record"),
    Reason("validation_failed", "the record breaks a field rule or a JSON Schema"),
    Reason("not_normalised", "a value has no such normal form (phone number, e-mail, country, currency or unit)"),
    Reason("not_masked", "a value cannot be encrypted in its own format, or cannot be decrypted"),
    Reason("missing_reference", "enrichment found no match and `missing` is reject"),
    Reason("ambiguous_reference", "enrichment found several matches for one record"),
    Reason("no_route", "no branch of a route takes the record and there is no default"),
    Reason("python_failed", "the user's Python function raised on the record"),
    Reason("refused", "the destination does not take the record: a constraint, a range, a type or an encoding of its own"),
    Reason(
        "undelivered", "the destination failed, was busy or did not answer whenever the record was sent, while it took others"
    ),
    Reason("quality_rule", "the record breaks a quality rule whose action is reject"),
)


def rejections(
    rows: Sequence[int] | pa.Array, reason: str, message: str | Sequence[str], column: str | Sequence[str | None] | None = None
) -> pa.Table:
    """A REJECTION table for `rows`; a single reason, message or column serves all of them."""
    count = len(rows)
    messages = [message] * count if isinstance(message, str) else list(message)
    columns = [column] * count if column is None or isinstance(column, str) else list(column)
    return pa.table(
        [pa.array(rows, pa.int64()), pa.array([reason] * count), pa.array(messages, pa.string()), pa.array(columns, pa.string())],
        schema=REJECTION,
    )


def with_attempts(found: pa.Table, count: int) -> pa.Table:
    """A REJECTION table of rows that were tried `count` times."""
    return found.append_column(ATTEMPTS, pa.repeat(pa.scalar(count, pa.int64()), found.num_rows))


def no_rejections() -> pa.Table:
    """An empty REJECTION table."""
    return empty_table(REJECTION)
