"""A value means the same whether pyarrow reads it straight or SQL converts its text."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.kernels.delimited import Dialect
from beam_datahub.kernels.delimited_parse import Column, Parser
from beam_datahub.kernels.delimited_stream import Breaks, Piece
from beam_datahub.kernels.delimited_typed import typed
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ

INTEGERS = [
    "1",
    "+1",
    " 1 ",
    "0x1F",
    "0XfF",
    "0xFFFFFFFFFFFFFFFF",
    "0x00000000000000001",
    "0x1FF",
    "0xFF",
    "0x80",
    "1.5",
    "1_0",
    "1e3",
    "-0",
    "\t1",
    "007",
    "0" * 30 + "7",
    "-007",
    "127",
    "128",
    "-128",
    "-129",
    "255",
    "256",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "",
    "  ",
    "--1",
    "- 1",
    "1 2",
    "x",
    "0x",
    "0b1",
    "\u00a01",
    "1\v",
    "\f1",
]
FLOATS = [
    "1",
    "+1",
    " 1 ",
    ".5",
    "5.",
    "1e400",
    "-1e400",
    "nan",
    "NaN",
    "-nan",
    "+nan",
    "-inf",
    "inf",
    "+inf",
    "Infinity",
    "-INFINITY",
    "infin",
    "1e-400",
    "1e39",
    "1e-50",
    "nan(1)",
    "nan()",
    "nan(a b)",
    "1_0",
    "1E5",
    "-.5e-3",
    "5.e1",
    "5.e",
    "e5",
    ".",
    "+",
    "-",
    "1e+5",
    "1e 5",
    "0x1p3",
    "1d5",
    "1,5",
    "0.1",
    "3.4028236e38",
    "1.7976931348623159e308",
    "0" * 400 + "1",
    "1" + "0" * 308,
    "4.9e-324",
    "\t2\t",
    "+-1",
    " nan ",
    "NAN(abc_1)",
]
DATES = [
    "2024-01-05",
    " 2024-01-05 ",
    "2024-1-5",
    "12024-01-05",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "2024-02-30",
    "2023-02-29",
    "2024-02-29",
    "2024/01/05",
    "20240105",
    "1969-12-31",
    " ",
    "-001-01-01",
    "2024-13-01",
    "2024-00-10",
    "2024-01-00",
]
TIMESTAMPS = [
    "2024-01-05",
    "2024-01-05T10",
    "2024-01-05 10",
    "2024-01-05 10:11",
    "2024-01-05T10:11",
    "2024-01-05 10:11:12.123456789",
    "2024-01-05 10:11:12.1",
    "2024-01-05 10:11:12.1234567",
    "2024-01-05T10:11:12Z",
    "2024-01-05T10:11:12 Z",
    "2024-01-05 10Z",
    "2024-01-05 10:11Z",
    " 2024-01-05 10:11:12 ",
    "2024-01-05 24:00:00",
    "2024-01-05 10:11:60",
    "2024-01-05T10:11:12+02:00",
    "2024-01-05T10:11:12+0200",
    "2024-01-05T10:11:12+02",
    "2024-01-05 10+02",
    "2024-01-05 10:11-02:30",
    "2024-01-05Z",
    "2024-01-05 10:11:12.",
    "2024-01-05 10:11:12 UTC",
    "2024-01-05 10:11:12+00:00",
    "2024-01-05 10:11:12-00:00",
    "2024-01-05 10:11:12+25:00",
    "2024-01-05 10:11:12+23:59",
    "2024-01-05 10:11:12+14:60",
    "0000-01-01 00:00:00",
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59.999999",
    "1969-12-31 23:59:59.999999",
    "2024-02-30 10:00",
    "2024-01-05 1:2:3",
    "2024-01-05 10:11:12.123Z",
    "2024-01-05 10:11:12.1234567Z",
    "2024-01-05t10:11",
    "2024-01-05 25:00",
    "2024-01-05 10:60",
    "1900-01-01 00:00:00.5Z",
    "2024-01-05 10:11:12+2:00",
    "2024-01-05 10:11:12+02:0",
    "9999-12-31T23:59:59-10:00",
    "0000-01-01T00:00:00+10:00",
]
TIMES = [
    "10:11",
    "10:11:12.5",
    "24:00:00",
    "10:11:12.1234567",
    " 10:11 ",
    "1:2:3",
    "23:59:59.999999",
    "10",
    "00:00",
    "10:11:60",
    "10:60",
]
DECIMALS = [
    "1.5",
    "1.555",
    "1.500",
    "12345.6",
    "9999.99",
    "10000",
    "1e2",
    "1e-2",
    "1e-3",
    "1.5e1",
    "99999e-2",
    "1e400",
    "+1.5",
    " 1.5 ",
    "00000001.5",
    ".5",
    "5.",
    ".",
    "-.5",
    "1_0",
    "1.",
    "0." + "0" * 50,
    "1.5" + "0" * 40,
    "9" * 38,
    "9" * 39,
    "9" * 60,
    "1e36",
    "1e-400",
    "1E2",
    "0e500",
    "-9999.99",
    "-0",
    "5e",
    "0.00",
    "1e5",
    "9.999999e3",
]
BOOLEANS = ["1", "0", "true", "TRUE", "True", "tRUE", " true ", "t", "F", "yes", "no", "2", "y", ""]

TYPES: dict[pa.DataType, list[str]] = {
    **dict.fromkeys((pa.int8(), pa.int16(), pa.int32(), pa.int64()), INTEGERS),
    **dict.fromkeys((pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()), INTEGERS),
    pa.float64(): FLOATS + INTEGERS,
    pa.float32(): FLOATS + INTEGERS,
    pa.decimal128(6, 2): DECIMALS + INTEGERS,
    pa.decimal128(38, 2): DECIMALS + INTEGERS,
    pa.decimal128(38, 38): DECIMALS,
    pa.decimal128(18, 0): DECIMALS + INTEGERS,
    pa.bool_(): BOOLEANS,
    pa.date32(): DATES + TIMESTAMPS,
    pa.time64("us"): TIMES,
    TIMESTAMP: TIMESTAMPS + DATES,
    TIMESTAMPTZ: TIMESTAMPS + DATES,
}
MISFIT = "misfit"


def value_of(text: str, kind: pa.DataType, dialect: Dialect, *, as_text: bool) -> Any:
    """The value that a quoted field of this text has, or MISFIT."""
    parser = Parser(["a"], [Column(pa.field("a", kind), 0)], dialect)
    if as_text:
        parser._as_text.add(0)
    data = f'"{text}"\n'.encode() if "," in text or not text.strip() else f"{text}\n".encode()
    parsed = parser.parse(Piece(data, 0, len(data), Breaks(data, 0)))
    if not as_text and parsed.as_text:
        return None
    table, misfits = typed(parsed)
    if misfits:
        return MISFIT
    value = table.column(0).combine_chunks()
    return value.to_pylist() if pa.types.is_decimal(kind) else value.cast(pa.string()).to_pylist()


@pytest.mark.parametrize("kind", TYPES, ids=str)
@pytest.mark.parametrize("point", [".", ","])
def test_what_reads_straight_converts_from_text_to_the_same(kind: pa.DataType, point: str) -> None:
    dialect = Dialect(delimiter=";", decimal_point=point)
    for text in dict.fromkeys(TYPES[kind] + [text.replace(".", ",") for text in TYPES[kind]]):
        straight = value_of(text, kind, dialect, as_text=False)
        if straight is not None:
            assert value_of(text, kind, dialect, as_text=True) == straight, text


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (pa.int64(), " +7 ", 7),
        (pa.int64(), "0x1F", 31),
        (pa.int64(), "1.0", MISFIT),
        (pa.int64(), "1e3", MISFIT),
        (pa.int64(), "1_000", MISFIT),
        (pa.int8(), "128", MISFIT),
        (pa.int64(), "", None),
        (pa.float64(), "1e400", MISFIT),
        (pa.float64(), "-Infinity", float("-inf")),
        (pa.decimal128(6, 2), "1.500", Decimal("1.50")),
        (pa.decimal128(6, 2), "1.505", MISFIT),
        (pa.decimal128(6, 2), "12345.6", MISFIT),
        (pa.decimal128(6, 2), "125e-2", Decimal("1.25")),
        (pa.bool_(), "YES", True),
        (pa.bool_(), "2", MISFIT),
        (pa.date32(), "2025-01-31", dt.date(2025, 1, 31)),
        (pa.date32(), "2025-02-30", MISFIT),
        (pa.date32(), "31.01.2025", MISFIT),
        (TIMESTAMP, "2025-01-31T10", dt.datetime(2025, 1, 31, 10)),
        (TIMESTAMP, "2025-01-31 10:00:00Z", dt.datetime(2025, 1, 31, 10)),
        (TIMESTAMP, "2025-01-31 10:00:00+02:00", MISFIT),
        (TIMESTAMPTZ, "2025-01-31 10:00:00+02:00", dt.datetime(2025, 1, 31, 8, tzinfo=dt.UTC)),
        (TIMESTAMPTZ, "2025-01-31 10:00", dt.datetime(2025, 1, 31, 10, tzinfo=dt.UTC)),
        (pa.time64("us"), "24:00", MISFIT),
        (pa.binary(), "\\x00a", b"\x00a"),
        (JSON, "{", MISFIT),
        (JSON, "[1, 2]", "[1, 2]"),
        (pa.list_(pa.int64()), "[1, 2]", [1, 2]),
    ],
)
def test_a_text_has_this_value(kind: pa.DataType, text: str, value: Any) -> None:
    data = f'"{text}"\n'.encode()
    parsed = Parser(["a"], [Column(pa.field("a", kind), 0)], Dialect(delimiter=";")).parse(
        Piece(data, 0, len(data), Breaks(data, 0))
    )
    table, misfits = typed(parsed)
    assert (MISFIT if misfits else table.column(0).to_pylist()[0]) == value


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_a_value_is_read_alike_beside_values_that_are_not_of_the_type(kind: pa.DataType) -> None:
    alone = {text: value_of(text, kind, Dialect(delimiter=";"), as_text=True) for text in TYPES[kind] if ";" not in text}
    texts = [text for text in alone if text.strip()]
    data = "".join(f'"{text}"\n' if "," in text else f"{text}\n" for text in [*texts, "no value", *texts]).encode()
    parser = Parser(["a"], [Column(pa.field("a", kind), 0)], Dialect(delimiter=";"))
    table, misfits = typed(parser.parse(Piece(data, 0, len(data), Breaks(data, 0))))
    odd = set(misfits[0].rows.tolist())
    column = table.column(0)
    values = column.to_pylist() if pa.types.is_decimal(kind) else column.cast(pa.string()).to_pylist()
    for row, text in enumerate([*texts, "no value", *texts]):
        wanted = MISFIT if text == "no value" else alone[text]
        assert (MISFIT if row in odd else [values[row]]) == wanted, text


@pytest.mark.parametrize("kind", [pa.int32(), pa.float64(), pa.decimal128(6, 2), TIMESTAMP], ids=str)
def test_an_odd_value_is_read_alike_when_it_comes_again(kind: pa.DataType) -> None:
    dialect = Dialect(delimiter=";")
    parser = Parser(["a"], [Column(pa.field("a", kind), 0)], dialect)
    good = "2024-05-06" if kind == TIMESTAMP else "7"
    recalled = 0
    for text in [text for text in TYPES[kind] if ";" not in text and "," not in text and text.strip()][::2]:
        alone = value_of(text, kind, dialect, as_text=True)
        data = f"{good}\n{text}\nno value\n{good}\n{text}\n".encode()
        for _ in range(2):
            table, misfits = typed(parser.parse(Piece(data, 0, len(data), Breaks(data, 0))))
            odd = dict(zip(misfits[0].rows.tolist(), misfits[0].values.to_pylist(), strict=True))
            column = table.column(0)
            values = column.to_pylist() if pa.types.is_decimal(kind) else column.cast(pa.string()).to_pylist()
            assert odd.pop(2) == "no value"
            for row in (1, 4):
                assert (MISFIT if odd.pop(row, None) == text else [values[row]]) == alone, text
            assert not odd
        recalled += text in parser.odd_texts["0"].texts.to_pylist()
    assert recalled > 3


def test_a_column_of_many_odd_values_is_read_all_the_same() -> None:
    parser = Parser(["a"], [Column(pa.field("a", pa.int64()), 0)], Dialect())
    for start in (0, 50, 100):
        data = "".join(f"{n}\nno {n}\n" for n in range(start, start + 50)).encode()
        table, misfits = typed(parser.parse(Piece(data, 0, len(data), Breaks(data, 0))))
        assert misfits[0].values.to_pylist() == [f"no {n}" for n in range(start, start + 50)]
        assert table.column(0).to_pylist() == [value for n in range(start, start + 50) for value in (n, None)]
    assert not parser.odd_texts["0"]
