"""Rows as JSON: what they say does not depend on the way that their text is made."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from beam_datahub.kernels.json_rows import json_rows

PLAIN = ["", "a", "Łódź", "left, then up", "/", "\x7f", "{}", "\u2028"]


@pytest.mark.parametrize("odd", ["no odd one", None, '"', "\\", "\n", "\x00", "\x1f"])
def test_texts_are_written_as_json_writes_them(odd: str | None) -> None:
    texts = [*PLAIN, odd]
    batch = pa.record_batch({"a": texts, 'of "b"': list(reversed(texts))}).slice(1)
    rows = json_rows(batch, ending="\n").to_pylist()
    assert [json.loads(row) for row in rows] == batch.to_pylist()
    if odd == "no odd one":
        assert rows == [json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in batch.to_pylist()]


def test_a_few_rows_are_written_as_many_are(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = [datetime(2026, 11, 22, 5, 12, 52, micros, UTC) for micros in (0, 120_000, 123_456)]
    for moment in moments:
        for zone in ("UTC", "Europe/Berlin", None):
            same = pa.array([moment.replace(tzinfo=UTC if zone else None)] * 4, pa.timestamp("us", zone))
            batch = pa.record_batch(
                {
                    "at": same,
                    "day": pa.array([moment.date()] * 4),
                    "on": pa.array([True] * 4),
                    "nothing": pa.nulls(4, pa.float64()),
                    "text": pa.array(["a", '"', None, "\t\\\r\n"]),
                    "same": pa.array(['say "yes"'] * 4),
                    "number": pa.array([1, None, -3, 4]),
                    "kind": pa.array([7] * 4, pa.int8()),
                    "bell": pa.array(["\a"] * 4),
                }
            )
            few = json_rows(batch, ending="\n").to_pylist()
            with monkeypatch.context() as patch:
                patch.setattr("beam_datahub.kernels.json_rows._FEW_ROWS", 0)
                assert few == json_rows(batch, ending="\n").to_pylist()
            assert json_rows(batch.slice(1, 2), ending="\n").to_pylist() == few[1:3]
