"""Rows as JSON: what they say does not depend on the way that their text is made."""

from __future__ import annotations

import json

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
