"""Blocks of messages: their bodies decoded, and what else is known of them as columns beside."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_datahub.component.arrow_blocks import first_of_each_row
from beam_datahub.component.files import record_batch
from beam_datahub.component.messages.decoding import Decoder
from beam_datahub.component.source import Block, Origin, ReadRequest
from beam_datahub.kernels.rejection import rejections


@dataclass(frozen=True)
class Arrived:
    """Some messages of one place, in their order. `metadata` has by column what else is known of each, as Python values; `first`
    is the number of the first, `numbers` those of all where they do not follow one another; `taken` is for acknowledging.
    """

    values: list[Any]
    metadata: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    first: int = 0
    numbers: npt.NDArray[np.int64] | None = None
    taken: Any = None


def value_request(request: ReadRequest, added: pa.Schema) -> ReadRequest:
    """A request for the columns of the bodies alone, without those of the metadata."""
    values = pa.schema([each for each in request.schema if each.name not in added.names])
    return replace(request, schema=values, columns=tuple(name for name in request.columns if name in values.names))


class MessageReading:
    """Makes blocks of the messages of one place. `added` are the columns of the metadata."""

    def __init__(self, request: ReadRequest, decoder: Decoder, added: pa.Schema) -> None:
        self._wanted, self._decoder, self._all_added = request.projected, decoder, added
        self.added = pa.schema([each for each in added if each.name in request.columns])

    def block(self, arrived: Arrived) -> Block:
        """The block of some messages. A position in it is how far a message's number is behind that of the first."""
        if not arrived.values:
            return Block(_nothing(self._wanted), taken=arrived.taken)
        found = self._decoder.decode(arrived.values)
        columns = dict(zip(found.batch.schema.names, found.batch.columns, strict=True))
        added = {each.name: pa.array(arrived.metadata[each.name], each.type) for each in self.added}
        rows, rejected, count = found.rows, found.rejected, len(arrived.values)
        too_long = self._too_long(arrived.values)
        if too_long is not None:
            rejected = first_of_each_row(
                too_long if rejected is None else pa.concat_tables([too_long, rejected], promote_options="default")
            )
            fine = np.ones(count, dtype=bool)
            fine[rejected["row"].to_numpy()] = False
            kept = np.arange(count) if rows is None else rows.to_numpy()
            mask = pa.array(fine[kept])
            columns = {name: array.filter(mask) for name, array in columns.items()}
            rows = pa.array(kept[fine[kept]])
        if rows is not None:
            added = {name: array.take(rows) for name, array in added.items()}
            count = len(rows)
        places = None if arrived.numbers is None else pa.array(arrived.numbers - arrived.first)
        if places is not None:
            rows = places if rows is None else places.take(rows)
            if rejected is not None:
                rejected = rejected.set_column(0, rejected.schema.field(0), places.take(rejected["row"].combine_chunks()))

        def originals(wanted: Sequence[int]) -> list[str]:
            indices = wanted if places is None else np.searchsorted(places.to_numpy(), np.asarray(wanted)).tolist()
            return [self._original(found.original(i), arrived, i) for i in indices]

        columns |= added
        batch = record_batch([columns[name] for name in self._wanted.names], self._wanted, count)
        origin = Origin(self._decoder.place, first_row=arrived.first)
        return Block(batch, origin, rejected, rows, originals, drifted=found.drifted, taken=arrived.taken)

    def _too_long(self, values: Sequence[Any]) -> pa.Table | None:
        limit = self._decoder.longest
        rows = [i for i, value in enumerate(values) if isinstance(value, bytes) and len(value) > limit]
        return rejections(rows, "malformed", f"the record is longer than {limit} bytes") if rows else None

    def _original(self, text: str, arrived: Arrived, index: int) -> str:
        """A body's text, with the metadata put into it where it is a JSON object."""
        body = "{}" if arrived.values[index] is None else text.strip()
        names = [name for name in self._all_added.names if name in arrived.metadata]
        if not names or not (body.startswith("{") and body.endswith("}")):
            return text
        parts = ", ".join(f"{json.dumps(name)}: {_json(arrived.metadata[name][index])}" for name in names)
        rest = body[1:].lstrip()
        return "{" + parts + ("" if rest.startswith("}") else ", ") + rest


def _nothing(schema: pa.Schema) -> pa.RecordBatch:
    return record_batch([pa.nulls(0, each.type) for each in schema], schema, 0)


def _json(value: object) -> str:
    if isinstance(value, bytes):
        value = base64.b64encode(value).decode()
    if isinstance(value, list):
        value = dict(value)
    return json.dumps(value, default=lambda moment: moment.isoformat(), ensure_ascii=False)
