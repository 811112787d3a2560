"""Pieces of delimited text whose odd values are known from earlier ones: they are what they are without that knowledge."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from beam_datahub.kernels.delimited import Dialect, records_of
from beam_datahub.kernels.delimited_parse import Column, Parsed, Parser
from beam_datahub.kernels.delimited_stream import Breaks, Piece, pieces
from beam_datahub.kernels.delimited_typed import typed

FIELDS = {
    "id": pa.int64(),
    "price": pa.float64(),
    "day": pa.date32(),
    "name": pa.string(),
    "count": pa.int32(),
    "sum": pa.decimal128(9, 2),
}
USUAL = {
    "id": ["1", "-7", "12"],
    "price": ["1.5", "2e3", "0"],
    "day": ["2024-05-06", "2023-12-31"],
    "name": ["Ann", "n/a", "many", '"a, b"', "Zoë"],
    "count": ["3", "4"],
    "sum": ["7", "1.25"],
}
ODD = {"price": "n/a", "day": "2024-13-45", "count": "many"}


def parser(dialect: Dialect) -> Parser:
    return Parser(list(FIELDS), [Column(pa.field(name, kind), i) for i, (name, kind) in enumerate(FIELDS.items())], dialect)


def piece(text: str) -> Piece:
    data = text.encode()
    return Piece(data, 0, len(data), Breaks(data, 0))


def drawn(draw: random.Random, extra: dict[str, list[str]], rows: int = 300) -> str:
    lines = []
    for number in range(rows):
        record = {name: draw.choice(values) for name, values in USUAL.items()}
        for name, odd in ODD.items():
            record[name] = odd if number < 2 or draw.random() < 0.02 else record[name]
        for name, values in extra.items():
            record[name] = draw.choice(values) if draw.random() < 0.03 else record[name]
        lines.append(",".join(record.values()) + (",one too many" if draw.random() < 0.02 else ""))
    return "\n".join(lines) + "\n"


def told(parsed: Parsed) -> tuple[object, ...]:
    table, misfits = typed(parsed)
    positions = sorted({int(row) if parsed.positions is None else int(parsed.positions[row]) for m in misfits for row in m.rows})
    positions = sorted({*positions, *(one.position for one in parsed.refused)})
    said = [(m.column, m.rows.tolist(), m.values.to_pylist()) for m in misfits]
    rows = None if parsed.positions is None else parsed.positions.tolist()
    return table.to_pylist(), said, rows, parsed.refused, parsed.total, parsed.originals(positions), parsed.lines(positions)


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"id": ["", "n/a"], "price": ["", "many"], "sum": [""]},
        {"name": ["", '""']},
        {"count": ['""', '"many"'], "sum": ["n/a", "1e1"]},
        {"day": ["never"], "price": ["1e999", " 7 ", "0x1f", "2024-13-45"], "id": ["0x1f"]},
    ],
)
def test_known_odd_values_are_rejected_as_unknown_ones_are(extra: dict[str, list[str]]) -> None:
    draw = random.Random(repr(extra))
    reader = parser(Dialect())
    typed(reader.parse(piece(drawn(draw, {}))))
    for _ in range(2):
        later = piece(drawn(draw, extra))
        assert told(reader.parse(later)) == told(parser(Dialect()).parse(later))


def test_a_piece_whose_odd_values_are_all_known_is_read_straight() -> None:
    draw = random.Random(1)
    reader = parser(Dialect())
    typed(reader.parse(piece(drawn(draw, {}))))
    parsed = reader.parse(piece(drawn(draw, {})))
    assert parsed.with_gaps == {0, 1, 2, 4, 5}
    assert not parsed.as_text


def test_many_nulls_are_no_gaps() -> None:
    reader = parser(Dialect())
    lines = [f"{i},{'n/a' if i < 5 else ''},{'never' if i < 5 else '2024-05-06'},Ann,1,2" for i in range(300)]
    whole = piece("\n".join(lines) + "\n")
    found = [told(reader.parse(whole)) for _ in range(3)]
    assert found[0] == found[1] == found[2]
    # The column with the nulls is text as before, the other one is read straight.
    last = reader.parse(whole)
    assert last.as_text == {1}
    assert last.with_gaps == {0, 2, 4, 5}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("begin", ["", "note\n\n", '"two\nlines",n/a,,Zoë,7,1\n'])
def test_a_rejected_record_has_its_own_line_and_text_wherever_it_stands(begin: str, end: str) -> None:
    """First and last of a piece, behind empty lines and line breaks in quotes, without a last line break."""
    good, odd, ragged = "1,2.5,2024-05-06,Zoë,3,7", "2,n/a,2024-05-06,Ann,3,7", "3,2.5,2024-05-06,Eve,3,7,8"
    lines = [odd, ragged, good, *[good] * 30, odd, good, ragged, odd]
    data = (begin.replace("\n", end) + end.join(lines)).encode()
    record = '{{"id":"{}","price":"n/a","day":"2024-05-06","name":"Ann","count":"3","sum":"7"}}'.format
    before = begin.count("\n")
    expected = [
        (before + number, ragged if line == ragged else record(2)) for number, line in enumerate(lines, 1) if line is not good
    ]
    reader, size = parser(Dialect()), 400
    typed(reader.parse(piece(drawn(random.Random(3), {}))))
    for known in (parser(Dialect()), reader):
        at = 0
        found: list[tuple[int | None, str]] = []

        def read(_: int) -> bytes:
            nonlocal at
            at += size
            return data[at - size : at]

        # Whoever asks for lines last asks for those of pieces that were let go long before.
        taken = [known.parse(each) for each in pieces(read, Dialect(), size, first=size)]
        assert len(taken) > 2
        for parsed in reversed(taken):
            rows = sorted({*(row for m in typed(parsed)[1] for row in m.rows.tolist())})
            places = rows if parsed.positions is None else parsed.positions[rows].tolist()
            positions = sorted({*places, *(one.position for one in parsed.refused)})
            found += zip(parsed.lines(positions), parsed.originals(positions), strict=True)
        assert [one for one in sorted(found) if (one[0] or 0) > before] == expected


def test_records_taken_out_of_a_text_are_those_that_stand_there() -> None:
    choose = random.Random(5)
    for end in ("\n", "\r\n", "\r"):
        for _ in range(100):
            lines = [choose.choice(["a,b", "", 'x,"two\n\nlines"', "é,1"]) + end for _ in range(choose.randint(1, 40))]
            records = records_of("".join(lines).encode().removesuffix(choose.choice([b"", end.encode()])), Dialect())
            kept = np.array(sorted(choose.sample(range(len(records)), choose.randint(0, len(records)))), np.int64)
            again = records_of(records.only(kept), Dialect())
            assert [again.raw(i) for i in range(len(again))] == [records.raw(i) for i in kept.tolist()]


def test_a_replaced_byte_is_replaced_in_the_original_record_too() -> None:
    data = b"1,n/a,2024-05-06,A\xffn,1,2\n"
    parsed = parser(Dialect(encoding_errors="replace")).parse(Piece(data, 0, len(data), Breaks(data, 0)))
    _, misfits = typed(parsed)
    assert [misfit.values.to_pylist() for misfit in misfits] == [["n/a"]]
    assert parsed.originals([0]) == [
        '{"id":"1","price":"n/a","day":"2024-05-06","name":"A\N{REPLACEMENT CHARACTER}n","count":"1","sum":"2"}'
    ]


def test_rejected_records_load_no_pandas() -> None:
    """It takes longer than to read some megabytes."""
    program = f"""
import sys
import pyarrow as pa
from beam_datahub.kernels.delimited import Dialect
from beam_datahub.kernels.delimited_parse import Column, Parser
from beam_datahub.kernels.delimited_stream import Breaks, Piece
from beam_datahub.kernels.delimited_typed import typed
data = {drawn(random.Random(2), {}).encode()!r}
parser = Parser({list(FIELDS)}, [Column(pa.field("price", pa.float64()), 1)], Dialect())
for _ in range(2):
    parsed = parser.parse(Piece(data, 0, len(data), Breaks(data, 0)))
    _, misfits = typed(parsed)
    assert misfits
    parsed.originals(misfits[0].rows.tolist())
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
