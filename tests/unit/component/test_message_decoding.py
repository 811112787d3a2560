"""Values of messages as columns: what is told of fields that the schema does not know."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from beam_datahub.component.messages import decoding
from beam_datahub.component.source import ReadRequest

SCHEMA = pa.schema([("id", pa.int64())])


def test_a_new_field_in_the_middle_of_a_backlog_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_LOOK_EVERY_SECONDS", 0.0)
    decoder = decoding.JsonDecoder(ReadRequest(schema=SCHEMA, columns=("id",)), "orders/0", 1_000_000)
    assert decoder.decode([b'{"id": 1}']).drifted == ()
    found = decoder.decode([json.dumps({"id": i, "colour": "red"}).encode() for i in range(12_000)])
    assert (found.drifted, found.batch["id"].to_pylist()) == (("colour",), list(range(12_000)))


def test_what_is_blank_or_has_no_value_stays_a_message_of_its_own() -> None:
    values = [b'{"id": 1}', b"", b" \t", None, b'\n{"id":\n 2}']
    decoder = decoding.JsonDecoder(ReadRequest(schema=SCHEMA, columns=("id",)), "orders/0", 1_000_000)
    found = decoder.decode(values)
    assert found.rows is not None
    assert found.rejected is not None
    assert (found.rows.to_pylist(), found.batch["id"].to_pylist()) == ([0, 3, 4], [1, None, 2])
    assert found.rejected["row"].to_pylist() == [1, 2]
