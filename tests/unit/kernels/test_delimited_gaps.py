"""Pieces of delimited text whose odd values are known from earlier ones: they are what they are without that knowledge."""

from __future__ import annotations

import random
import subprocess
import sys

import pyarrow as pa
import pytest

from beam_datahub.kernels.delimited import Dialect
from beam_datahub.kernels.delimited_parse import Column, Parsed, Parser
from beam_datahub.kernels.delimited_stream import Piece
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
    return Piece(data, 0, len(data), 0)


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


def test_a_replaced_byte_is_replaced_in_the_original_record_too() -> None:
    data = b"1,n/a,2024-05-06,A\xffn,1,2\n"
    parsed = parser(Dialect(encoding_errors="replace")).parse(Piece(data, 0, len(data), 0))
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
from beam_datahub.kernels.delimited_stream import Piece
from beam_datahub.kernels.delimited_typed import typed
data = {drawn(random.Random(2), {}).encode()!r}
parser = Parser({list(FIELDS)}, [Column(pa.field("price", pa.float64()), 1)], Dialect())
for _ in range(2):
    parsed = parser.parse(Piece(data, 0, len(data), 0))
    _, misfits = typed(parsed)
    assert misfits
    parsed.originals(misfits[0].rows.tolist())
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
