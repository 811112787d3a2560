"""Messages of one partition as columns: their values, and what else is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_datahub.component.messages.text import as_text
from beam_datahub.kernels.rejection import rejections

_HEADERS = pa.map_(pa.string(), pa.string())
_TYPES: dict[str, pa.DataType] = {
    "key": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
    "offset": pa.int64(),
    "partition": pa.int32(),
    "topic": pa.string(),
    "headers": _HEADERS,
    "tombstone": pa.bool_(),
}


def metadata_schema(names: Sequence[str], key_format: str) -> pa.Schema:
    """The columns that `metadata` adds to those of the value."""
    kinds = {**_TYPES, "key": pa.binary() if key_format == "bytes" else pa.string()}
    return pa.schema([pa.field(f"_{name}", kinds[name]) for name in names])


@dataclass(frozen=True)
class Messages:
    """Some messages of one partition, in their order. `offsets` rise, though not always by one."""

    topic: str
    partition: int
    raw: Sequence[Any]
    values: list[bytes | None]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, topic: str, partition: int, raw: Sequence[Any]) -> Messages:
        """Messages as the client library gives them."""
        from confluent_kafka import Message

        values = list(map(Message.value, raw))
        first, last = (int(raw[i].offset()) for i in (0, -1))
        if last - first == len(raw) - 1:
            # They rise: where none is left out they follow one another.
            return cls(topic, partition, raw, values, np.arange(first, last + 1, dtype=np.int64))
        offsets = np.fromiter(map(Message.offset, raw), np.int64, len(raw))
        return cls(topic, partition, raw, values, offsets)

    @property
    def places(self) -> pa.Array | None:
        """How far each is behind the first; None where they follow one another."""
        deltas = self.offsets - self.offsets[0]
        return None if int(deltas[-1]) == len(deltas) - 1 else pa.array(deltas)

    def columns(self, schema: pa.Schema) -> tuple[dict[str, pa.Array], pa.Table | None]:
        """The metadata columns of `schema`, and the rejections of messages whose key is no text."""
        found, rejected = {}, None
        for field in schema:
            name = field.name.removeprefix("_")
            if name == "key":
                found[field.name], rejected = self._keys(field.type)
            else:
                found[field.name] = self._column(name)
        return found, rejected

    def _column(self, name: str) -> pa.Array:
        count = len(self.raw)
        if name == "offset":
            return pa.array(self.offsets)
        if name == "partition":
            return pa.array(np.full(count, self.partition, np.int32))
        if name == "topic":
            return pa.repeat(pa.scalar(self.topic), count)
        if name == "tombstone":
            return pa.array([value is None for value in self.values], pa.bool_())
        if name == "timestamp":
            stamps = np.fromiter((message.timestamp()[1] for message in self.raw), np.int64, count)
            # A message without a time says -1, or its kind says that there is none.
            return pa.array(stamps, pa.timestamp("ms"), mask=stamps < 0).cast(_TYPES["timestamp"])
        return pa.array([_headers(message.headers()) for message in self.raw], _HEADERS)

    def _keys(self, kind: pa.DataType) -> tuple[pa.Array, pa.Table | None]:
        keys = [message.key() for message in self.raw]
        array = pa.array(keys, pa.binary())
        if kind == pa.binary():
            return array, None
        texts, bad = as_text(array)
        if not len(bad):
            return texts, None
        return texts, rejections(bad, "encoding", "the key is not valid UTF-8: `key_format: bytes` takes it as it is", "_key")


def _headers(found: list[tuple[str, bytes | None]] | None) -> list[tuple[str, str | None]]:
    """Headers by name; of several with one name, the last counts."""
    last = dict(found or ())
    return [(name, None if value is None else value.decode(errors="replace")) for name, value in last.items()]
