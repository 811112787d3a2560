"""Delimited text: records are found exactly, and nothing depends on where the text is cut or which way a value was read."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from beam_datahub.kernels.delimited import Dialect, Scan, lines_of, records_of
from beam_datahub.kernels.delimited_parse import Column, Parser
from beam_datahub.kernels.delimited_stream import pieces
from beam_datahub.kernels.delimited_typed import typed

DIALECTS = {
    "plain": Dialect(),
    "no quote": Dialect(quote=None),
    "backslash": Dialect(escape="\\", double_quote=False),
    "both": Dialect(escape="\\"),
    "quotes once": Dialect(double_quote=False),
    "comments": Dialect(comment="#"),
    "short records only": Dialect(max_record_bytes=25),
    "padded": Dialect(ragged="pad"),
    "fitted": Dialect(ragged="fit", empty_lines="keep"),
}
TOKENS = [
    '"',
    '"',
    ",",
    ",",
    "\n",
    "\n",
    "\r\n",
    "\r",
    "\\",
    "#",
    "1",
    "x",
    "ab",
    "é",
    "\n1,x\n",
    '"a"',
    '"",',
    "1,2\n",
    '\n"b\nc",1\n',
]


def records_one_by_one(text: str, dialect: Dialect) -> list[int]:
    """Where records end, found character by character."""
    ends, i, inside, start, line = [], 0, False, True, True
    while i < len(text):
        sign = text[i]
        if line and not inside and dialect.comment and sign == dialect.comment:
            while i < len(text) and text[i] not in "\r\n":
                i += 1
            line = start = False
            continue
        line = False
        if dialect.escape and dialect.escape != dialect.quote and sign == dialect.escape:
            i, start = i + 2, False
            continue
        if inside:
            if sign == dialect.quote:
                if dialect.doubles and text[i + 1 : i + 2] == dialect.quote:
                    i += 1
                else:
                    inside = False
        elif sign == dialect.quote and start:
            inside = True
        elif sign in "\r\n":
            i += sign == "\r" and text[i + 1 : i + 2] == "\n"
            ends.append(i + 1)
            i, start, line = i + 1, True, True
            continue
        start = not inside and sign == dialect.delimiter
        i += 1
    return ends


@pytest.mark.parametrize("name", ["plain", "no quote", "backslash", "both", "quotes once", "comments"])
def test_records_end_where_a_walk_over_all_characters_says(name: str) -> None:
    choose = random.Random(7)
    for _ in range(1500):
        text = "".join(choose.choices(TOKENS, k=choose.randint(0, 14))).replace("é", "e")
        found = Scan(text.encode(), DIALECTS[name]).record_ends.tolist()
        assert found == records_one_by_one(text, DIALECTS[name]), repr(text)


@pytest.mark.parametrize("name", ["plain", "no quote", "backslash", "both", "quotes once"])
def test_where_each_line_is_a_record_the_lines_are_the_records(name: str) -> None:
    choose, met = random.Random(11), 0
    for _ in range(3000):
        data = "".join(choose.choices(TOKENS, k=choose.randint(0, 14))).encode()
        records = records_of(data, DIALECTS[name])
        lines = lines_of(data, len(records), DIALECTS[name])
        if lines is not None:
            met += len(records) > 1
            some = np.array(sorted(choose.sample(range(len(records)), choose.randint(0, len(records)))), np.int64)
            for part in ("starts", "ends", "nexts"):
                assert getattr(lines.some(some), part).tolist() == getattr(records, part)[some].tolist(), (part, data)
    assert met > 100


COLUMNS = [Column(pa.field("a", pa.int64()), 0), Column(pa.field("b", pa.string()), 1)]


def outcome(data: bytes, dialect: Dialect, size: int) -> tuple[list[object], list[object]]:
    """All rows with their positions, and all refused records, over all pieces."""
    at = before = 0
    rows: list[object] = []
    refused: list[object] = []

    def read(count: int) -> bytes:
        nonlocal at
        chunk = data[at : at + max(1, min(count, size))]
        at += len(chunk)
        return chunk

    parser = Parser(["a", "b"], COLUMNS, dialect)
    for piece in pieces(read, dialect, size, first=size):
        parsed = parser.parse(piece)
        table, misfits = typed(parsed)
        places = range(parsed.total) if parsed.positions is None else parsed.positions.tolist()
        bad = {row: value for one in misfits for row, value in zip(one.rows.tolist(), one.values.to_pylist(), strict=True)}
        for i, (place, row) in enumerate(zip(places, table.to_pylist(), strict=True)):
            rows.append((before + place, row, bad.get(i)))
        lines = parsed.lines([one.position for one in parsed.refused])
        originals = parsed.originals([one.position for one in parsed.refused])
        refused += [
            (before + one.position, one.reason, one.message, line, original)
            for one, line, original in zip(parsed.refused, lines, originals, strict=True)
        ]
        assert parsed.total == table.num_rows + len(parsed.refused)
        before += parsed.total
    return rows, refused


@pytest.mark.parametrize("name", DIALECTS)
def test_where_the_text_is_cut_changes_nothing(name: str) -> None:
    choose, dialect = random.Random(11), DIALECTS[name]
    for _ in range(60):
        data = "".join(choose.choices(TOKENS, k=choose.randint(0, 40))).encode()
        if choose.random() < 0.3:
            cut = choose.randint(0, len(data))
            data = data[:cut] + b"\xff" + data[cut:]
        whole = outcome(data, dialect, 1 << 20)
        for size in (1, choose.randint(2, 12), 40):
            assert outcome(data, dialect, size) == whole, (data, size)
