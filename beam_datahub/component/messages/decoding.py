"""Values of messages as columns, in each format: all of a batch at once where the format allows it."""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from beam_datahub.component.arrow_blocks import Fitting, as_json
from beam_datahub.component.file_lines import Lines
from beam_datahub.component.files import record_batch
from beam_datahub.component.json_blocks import JsonReader
from beam_datahub.component.messages.registry import PREFIX, Registry
from beam_datahub.component.messages.text import as_text
from beam_datahub.component.messages.written import VALUE, AvroWritten, ProtobufWritten, written
from beam_datahub.component.source import Drift, ReadRequest
from beam_datahub.errors import ConnectorError, InvalidSchema, SourceMissing, Transient, UnresolvedReference
from beam_datahub.kernels.rejection import ATTEMPTS, rejections
from beam_datahub.schemas.avro import Column
from beam_datahub.schemas.avro_values import stored
from beam_datahub.schemas.document import Format

# How long a registry that did not have a schema is not asked for it again.
_ASK_AGAIN_SECONDS = 10.0
# How often messages of JSON are looked at for fields that the schema does not know.
_LOOK_EVERY_SECONDS = 1.0
# Behind the first ones, at about so many of those that come together.
_LOOK_AT = 5_000
# Why a message is rejected: the reason, the message, and the column at fault.
Bad = tuple[str, str, str | None]


@dataclass(frozen=True)
class Decoded:
    """The values of some messages as the columns of a request. `rows`: which messages the rows are (None: all);
    `rejected`: a REJECTION table whose `row` counts messages; `original` gives a message's value as text.
    """

    batch: pa.RecordBatch
    rows: pa.Array | None
    rejected: pa.Table | None
    original: Callable[[int], str]
    drifted: tuple[str, ...] = ()


class Decoder(ABC):
    """Decodes the values of one partition's messages, by the request's schema and contract."""

    def __init__(self, request: ReadRequest, place: str, longest: int) -> None:
        self.request, self.place, self.longest = request, place, longest

    @abstractmethod
    def decode(self, values: list[bytes | None]) -> Decoded:
        """The columns of some values. A value that is None makes a row of nulls. Raises SchemaDrift, ConnectorError."""


class JsonDecoder(Decoder):
    """JSON objects: one block of lines, parsed at once."""

    def __init__(self, request: ReadRequest, place: str, longest: int) -> None:
        super().__init__(request, place, longest)
        self._reader = JsonReader(place, replace(request, limit=None, threads=1), longest)
        self._next_look = 0.0

    def decode(self, values: list[bytes | None]) -> Decoded:
        if (now := time.monotonic()) >= self._next_look:
            # Messages go on, and what they have may change. To look at all of a backlog would take as long as to parse it.
            first, self._next_look = not self._next_look, now + _LOOK_EVERY_SECONDS
            step = -(-len(values) // _LOOK_AT)
            self._reader.look_again(None if first or step < 2 else lines_of(values[::step]))
        data = lines_of(values)
        block = next(iter(self._reader.blocks([Lines(data, 0, len(data), None)])))
        return Decoded(block.batch, block.positions, block.rejected, lambda i: shown(values[i]), block.drifted)


def lines_of(values: Sequence[bytes | None]) -> bytes:
    """Values as lines of JSON, one each; what has none is an empty object."""
    try:
        data = b"\n".join(values)  # type: ignore[arg-type]
    except TypeError:
        data = b"\n".join([b"{}" if value is None else value for value in values])
    # Between JSON's values a line break is a blank, and within a string it cannot stand. A blank line would be no record.
    if data.count(b"\n") == len(values) - 1 and data and not _has_blank(values):
        return data
    return b"\n".join([_line(value) for value in values])


def _has_blank(values: Sequence[bytes | None]) -> bool:
    if not all(values):
        return b"" in values or any(map(bytes.isspace, filter(None, values)))
    return any(map(bytes.isspace, values))  # type: ignore[arg-type]


def _line(value: bytes | None) -> bytes:
    if value is None:
        return b"{}"
    return value.replace(b"\n", b" ") if value.strip() else b"-"


class PlainDecoder(Decoder):
    """Text or bytes: the one column `value`, in the type that the schema gives it."""

    def __init__(self, request: ReadRequest, place: str, longest: int, *, text: bool) -> None:
        super().__init__(request, place, longest)
        self._text = text
        self._fitting = Fitting(replace(request, dictionaries=False), place)

    def decode(self, values: list[bytes | None]) -> Decoded:
        array, bad = pa.array(values, pa.binary()), list[int]()
        if self._text:
            array, bad = as_text(array)
        batch = pa.RecordBatch.from_arrays([array], [VALUE])
        message = "the value is not valid UTF-8"
        return fitted(
            self._fitting, batch, len(values), dict.fromkeys(bad, ("encoding", message, None)), lambda i: plain(values[i])
        )


class RegistryDecoder(Decoder):
    """Avro or Protobuf by a registry: each message names the schema that it was written with."""

    def __init__(self, request: ReadRequest, place: str, longest: int, registry: Registry, wanted: Format) -> None:
        super().__init__(request, place, longest)
        self._registry, self._format = registry, wanted
        self._schemas: dict[int, AvroWritten | ProtobufWritten | _Unknown] = {}

    def decode(self, values: list[bytes | None]) -> Decoded:
        rows: list[dict[str, Any] | None] = [None] * len(values)
        bad: dict[int, Bad] = {}
        columns: dict[str, Column] = {}
        attempts: dict[int, int] = {}
        for i, value in enumerate(values):
            if value is None:
                continue
            number = prefix_of(value)
            if number is None:
                bad[i] = ("malformed", "the value does not begin as those of a schema registry do", None)
                continue
            schema = self._schemas.get(number)
            if schema is None or (isinstance(schema, _Unknown) and schema.is_over):
                schema = self._known(number)
            if isinstance(schema, _Unknown):
                bad[i], attempts[i] = ("malformed", schema.words, None), schema.attempts
                continue
            try:
                rows[i] = schema.read(value)
            except Exception as error:  # On damaged data the decoder raises all kinds of errors.
                bad[i] = ("malformed", f"not of schema {number}: {type(error).__name__} {error}".rstrip(), None)
                continue
            stranger = self._stranger(schema) if self.request.contract.columns == Drift.DISCARD_ROW else None
            if stranger is not None:
                bad[i] = ("contract", f"the record has the column '{stranger}', which the schema does not have", stranger)
                continue
            columns.update(schema.columns)
        drifted = tuple(name for name in columns if name not in self.request.schema.names)
        wanted = [name for name in self.request.columns if name in columns]
        arrays = [_array([None if row is None else row.get(name) for row in rows], columns[name]) for name in wanted]
        batch = record_batch(arrays, pa.schema([pa.field(n, a.type) for n, a in zip(wanted, arrays, strict=True)]), len(values))

        def original(i: int) -> str:
            row = rows[i]
            return shown(values[i]) if row is None else json.dumps(row, default=str, ensure_ascii=False)

        return fitted(Fitting(self.request, self.place, drifted), batch, len(values), bad, original, drifted, attempts)

    def _stranger(self, schema: AvroWritten | ProtobufWritten) -> str | None:
        return next((name for name in schema.columns if name not in self.request.schema.names), None)

    def _known(self, number: int) -> AvroWritten | ProtobufWritten | _Unknown:
        found: AvroWritten | ProtobufWritten | _Unknown | None = None
        failure: ConnectorError | None = None

        def ask(attempt: int) -> bool:
            nonlocal found, failure
            try:
                document = self._registry.document(number)
                fits = document.format is self._format
                found = written(document) if fits else _Unknown(f"schema {number} is {document.format.value}")
            except (SourceMissing, Transient) as error:
                # Whoever writes may be ahead of a registry that copies from another.
                failure = error
                return True
            except (InvalidSchema, UnresolvedReference) as error:
                found = _Unknown(error.reason)
            return False

        attempts = self._registry.retry.rounds(ask)
        if found is None:
            assert failure is not None
            if isinstance(failure, Transient):
                raise failure
            found = _Unknown(failure.reason, attempts, time.monotonic() + _ASK_AGAIN_SECONDS)
        self._schemas[number] = found
        return found


@dataclass(frozen=True)
class _Unknown:
    """Why messages of a schema cannot be read, and until when that is taken for granted."""

    words: str
    attempts: int = 1
    until: float = math.inf

    @property
    def is_over(self) -> bool:
        """Whether the registry is to be asked again."""
        return time.monotonic() >= self.until


def prefix_of(value: bytes) -> int | None:
    """The number of the schema that a value names."""
    if len(value) < PREFIX.size:
        return None
    zero, number = PREFIX.unpack_from(value)
    return None if zero else int(number)


def _array(values: list[Any], column: Column) -> pa.Array:
    if column.convert is not None:
        values = [None if value is None else column.convert(value) for value in values]
    return pa.array(values, stored(column.type))


def fitted(
    fitting: Fitting,
    batch: pa.RecordBatch,
    count: int,
    bad: dict[int, Bad],
    original: Callable[[int], str],
    drifted: tuple[str, ...] = (),
    attempts: Mapping[int, int] = MappingProxyType({}),
) -> Decoded:
    """`batch`, whose rows are all messages, in the promised types, without those that are `bad` for a reason, some of them after
    several `attempts`.
    """
    kept = None
    if bad:
        fine = np.ones(count, dtype=bool)
        fine[list(bad)] = False
        kept = pa.array(np.flatnonzero(fine))
        batch = record_batch([column.take(kept) for column in batch.columns], batch.schema, len(kept))
    found = fitting.fit(batch)
    rows, refused = found.positions, found.rejected
    if kept is not None:
        rows = kept if rows is None else kept.take(rows)
        reasons, messages, columns = zip(*(bad[i] for i in sorted(bad)), strict=True)
        told = rejections(sorted(bad), "malformed", messages, columns)
        told = told.set_column(1, told.schema.field(1), pa.array(reasons, pa.string()))
        if attempts:
            told = told.append_column(ATTEMPTS, pa.array([attempts.get(i, 1) for i in sorted(bad)], pa.int64()))
        if refused is not None:
            refused = refused.set_column(0, refused.schema.field(0), kept.take(refused["row"].combine_chunks()))
        refused = told if refused is None else pa.concat_tables([told, refused], promote_options="default").sort_by("row")
    if refused is None or bad:
        return Decoded(found.batch, rows, refused, original, drifted)
    raw = found.raw
    return Decoded(found.batch, rows, refused, lambda i: as_json(raw, [i])[0] if raw.num_columns else original(i), drifted)


def shown(value: bytes | None) -> str:
    """A value as text, whatever it is."""
    return "" if value is None else value.decode(errors="backslashreplace")


def row_of(batch: pa.RecordBatch, index: int) -> str:
    """A row as a JSON object."""
    return as_json(batch, [index])[0]


def plain(value: bytes | None) -> str:
    """A value as the JSON object of its one column."""
    return json.dumps({VALUE: None if value is None else shown(value)}, ensure_ascii=False)
