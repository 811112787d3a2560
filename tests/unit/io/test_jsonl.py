"""JSON lines with defects of all kinds: only the records at fault are rejected, however blocks and splits fall."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.source import Contract, Drift
from beam_datahub.errors import InvalidValue, SchemaDrift, UnreadableData
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.connectors import Result, read, sink, source, write

N = pa.schema([("n", pa.int64())])


def lines(folder: Path, *texts: str | bytes, schema: pa.Schema | None = None, **options: Any) -> Result:
    path = folder / "x.jsonl"
    path.write_bytes(b"".join((text.encode() if isinstance(text, str) else text) + b"\n" for text in texts))
    request = {key: options.pop(key) for key in ("contract", "split_bytes", "threads", "batch_bytes") if key in options}
    return read(source("jsonl", str(path), **options), schema, **request)


def column(folder: Path, kind: pa.DataType, *texts: str) -> list[Any]:
    """The values that texts become as a column of a type; the reason code where the record is rejected."""
    found = lines(folder, *(f'{{"v":{text}}}' for text in texts), schema=pa.schema([("v", kind)]))
    refused = {row["row"]: row["reason"] for row in found.rejected}
    kept = iter(found.rows)
    return [refused[i] if i in refused else next(kept)["v"] for i in range(len(texts))]


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ('{"n": 1', "malformed", "Expecting"),
        ("not json at all", "malformed", "not JSON"),
        ('{"n": 1} {"n": 2}', "malformed", "Extra data"),
        ('{"n": 1,}', "malformed", "not JSON"),
        ("{'n': 1}", "malformed", "not JSON"),
        ('{"n": 01}', "malformed", "not JSON"),
        ('{"n": "a\tb"}', "malformed", "not JSON"),
        ('{"n": "\\ud800"}', "malformed", "not JSON"),
        ("[1]", "malformed", "an array, not an object"),
        ("5", "malformed", "a number, not an object"),
        ("null", "malformed", "null, not an object"),
        ('{"n": "x"}', "type_mismatch", '"x" is not of type BIGINT'),
        ('{"n": 1.5}', "type_mismatch", "1.5 is not of type BIGINT"),
        ('{"n": true}', "type_mismatch", "true is not of type BIGINT"),
        ('{"n": 9223372036854775808}', "type_mismatch", "is not of type BIGINT"),
        ('{"n": [1]}', "type_mismatch", "is not of type BIGINT"),
        ('{"n": NaN}', "type_mismatch", "is not of type BIGINT"),
        (b'{"n": 1, "t": "\xff\xfe"}', "encoding", "UTF-8"),
        ('{"x": ' + "[" * 1500 + "]" * 1500 + "}", "malformed", "deeper than 1000"),
        ("[" * 200_000, "malformed", "deeper than 1000"),
    ],
)
def test_a_bad_record_is_rejected_with_its_reason_line_and_text_and_its_neighbours_are_kept(
    text: str | bytes, reason: str, words: str, tmp_path: Path
) -> None:
    found = lines(tmp_path, '{"n": 1}', "", text, '{"n": 3}', schema=N)
    assert found.rows == [{"n": 1}, {"n": 3}]
    (refused,) = found.rejected
    assert (refused["reason"], refused["row"], refused["line"]) == (reason, 1, 3)
    assert words in refused["message"]
    assert refused["original"] == (text if isinstance(text, str) else text.decode(errors="backslashreplace"))


def test_a_line_that_is_too_long_is_rejected_wherever_it_stands_and_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with path.open("wb") as stream:
        stream.write(b'{"n": 1}\n{"n": "')
        for _ in range(40):
            stream.write(b"x" * 1_000_000)
        stream.write(b'"}\n{"n": 2}\n{"n": "' + b"y" * 2_000_000 + b'"}')
    origin = source("jsonl", str(path), max_record_bytes="1MB")
    for request in ({}, {"threads": 2}, {"split_bytes": 5_000_000}):
        found = read(origin, N, **request)
        assert found.rows == [{"n": 1}, {"n": 2}]
        assert found.reasons == ["malformed"] * 2
        assert all(len(row["original"]) < 2000 for row in found.rejected)
    short = read(source("jsonl", str(path), max_record_bytes=5), N)
    assert short.reasons == ["malformed"] * 4


def test_the_fast_way_and_the_slow_way_give_equal_values(tmp_path: Path) -> None:
    """The same good records, alone and with a bad one among them, which sends the block the slow way."""
    schema = pa.schema(
        [
            ("i", pa.int32()),
            ("u", pa.uint64()), ("f", pa.float64()), ("g", pa.float32()), ("b", pa.bool_()), ("s", pa.string()),
            ("d", pa.date32()), ("t", pa.time64("us")), ("ts", pa.timestamp("us")), ("tz", pa.timestamp("us", "UTC")),
            ("m", pa.decimal128(30, 10)), ("l", pa.list_(pa.int64())), ("o", pa.struct([("x", pa.string()), ("d", pa.date32())])),
            ("j", JSON), ("k", pa.map_(pa.string(), pa.int64())), ("oj", pa.struct([("q", pa.list_(JSON)), ("n", pa.int64())])),
        ]
    )  # fmt: skip
    good = [
        {},
        {"i": -5, "u": 2**64 - 1, "f": 0.1, "g": 0.1, "b": True, "s": 'a"b\\\n é 🚲 \u0000'},
        {"i": None, "f": 1e-320, "b": None, "s": None, "d": "2025-02-28", "t": "23:59:59.123456", "ts": "2025-03-30T02:30:00"},
        {"f": 123456789.123456789, "ts": "2025-01-01T10:00:00.5+02:00", "tz": "2025-01-01T10:00:00.5+02:00", "d": "0001-01-01"},
        {"ts": "2025-01-01", "tz": "2025-01-01T10:00:00Z", "l": [1, None, -3], "o": {"x": "y", "d": "2025-01-01", "extra": [1]}},
        {"j": {"a": [1, "x", None]}, "k": {"a": 1, "b": None}, "oj": {"q": [1, {"z": []}, "t", None]}, "l": [], "o": {}},
        {"j": "text", "unknown": {"deep": [[]]}, "oj": None, "o": None},
    ]
    texts = [json.dumps(record) for record in good]
    texts += [
        '{"m": 12345678901234567890.0123456789, "i": 7}',
        '{"m": "1.5"}',
        '{"m": 1e3}',
    ]
    fast = lines(tmp_path, *texts, schema=schema)
    slow = lines(tmp_path, *texts, "broken", schema=schema)
    assert (fast.rejected, slow.reasons) == ([], ["malformed"])
    assert fast.table.num_rows == len(texts)
    assert fast.rows == slow.rows
    assert fast.rows[-3]["m"] == decimal.Decimal("12345678901234567890.0123456789")
    assert fast.rows[3]["ts"] == dt.datetime(2025, 1, 1, 8, 0, 0, 500000)


def test_values_take_their_declared_type_where_nothing_is_lost(tmp_path: Path) -> None:
    assert column(tmp_path, pa.int64(), "1", '"2"', "3.0", "4e2", "null", '"x"', "1.5") == [
        1,
        2,
        3,
        400,
        None,
        *["type_mismatch"] * 2,
    ]
    assert column(tmp_path, pa.string(), '"a"', "1", "true", '{"x": 1}', "null") == ["a", "1", "true", '{"x":1}', None]
    assert column(tmp_path, pa.bool_(), "true", '"false"', "1", '"yes"') == [True, False, "type_mismatch", "type_mismatch"]
    money = pa.decimal128(5, 2)
    assert column(tmp_path, money, "1.5", '"1.50"', "1.505", "1.500", "1000") == [
        *[decimal.Decimal("1.50")] * 2, "type_mismatch", decimal.Decimal("1.50"), "type_mismatch",
    ]  # fmt: skip
    assert column(tmp_path, pa.int8(), "127", "128", "-129") == [127, "type_mismatch", "type_mismatch"]
    assert column(tmp_path, pa.timestamp("us"), '"2025-01-01T10:00:00-01:00"', "5", '"soon"') == [
        dt.datetime(2025, 1, 1, 11), "type_mismatch", "type_mismatch",
    ]  # fmt: skip
    assert column(tmp_path, pa.float64(), "1", "1e400", "NaN", '"-Infinity"') == [1.0, "malformed", "type_mismatch", -math.inf]
    assert column(tmp_path, pa.binary(), '"aGk="', '"§"') == [b"hi", "type_mismatch"]
    assert column(tmp_path, pa.list_(pa.int64()), "[1]", '["x"]', "{}", "[1.5]") == [[1], *["type_mismatch"] * 3]
    assert column(tmp_path, JSON, "1", "[1, {}]", '"x"', "null", "[NaN]") == ["1", "[1,{}]", '"x"', None, "malformed"]


def test_random_defects_are_rejected_alike_however_the_file_is_cut(tmp_path: Path) -> None:
    dice = random.Random(7)
    texts, good = [], []
    for i in range(3000):
        record = json.dumps({"n": i, "s": {"t": "x" * dice.randrange(60), "l": [i]}})
        fate = dice.random()
        if fate < 0.02:
            record = record[: dice.randrange(1, len(record))]
        elif fate < 0.04:
            record = record.replace(f'"n": {i}', '"n": "?"')
        elif fate < 0.06:
            record = record.replace(f"[{i}]", '["?"]')
        elif fate < 0.08:
            record = ""
        else:
            good.append(i)
        texts.append(record)
    schema = pa.schema([("n", pa.int64()), ("s", pa.struct([("t", pa.string()), ("l", pa.list_(pa.int64()))]))])
    whole = lines(tmp_path, *texts, schema=schema)
    assert [row["n"] for row in whole.rows] == good
    assert all(texts[row["line"] - 1] == row["original"] for row in whole.rejected)
    for request in ({"split_bytes": 1000}, {"batch_bytes": 2000, "threads": 2}, {"split_bytes": 50_000, "threads": 2}):
        cut = read(source("jsonl", str(tmp_path / "x.jsonl")), schema, **request)
        assert cut.rows == whole.rows
        assert [(row["reason"], row["original"]) for row in cut.rejected] == [
            (row["reason"], row["original"]) for row in whole.rejected
        ]


def test_contracts_for_keys_and_values_on_defective_data(tmp_path: Path) -> None:
    texts = ('{"n": 1}', '{"n": 2, "new": 1}', '{"n": "x"}', "broken")
    assert lines(tmp_path, *texts, schema=N).drifted == {"new"}
    discard = lines(tmp_path, *texts, schema=N, contract=Contract(Drift.DISCARD_ROW, Drift.DISCARD_ROW))
    assert (discard.rows, discard.reasons) == ([{"n": 1}], ["contract", "contract", "malformed"])
    nulled = lines(tmp_path, *texts, schema=N, contract=Contract(Drift.DISCARD_VALUE, Drift.DISCARD_VALUE))
    assert ([row["n"] for row in nulled.rows], nulled.reasons) == ([1, 2, None], ["malformed"])
    with pytest.raises(SchemaDrift, match="new"):
        lines(tmp_path, *texts, schema=N, contract=Contract(columns=Drift.FREEZE))
    with pytest.raises(SchemaDrift, match='"x"'):
        lines(tmp_path, *texts, schema=N, contract=Contract(types=Drift.FREEZE))


def test_discovery_types_what_is_uniform_and_leaves_the_rest_json(tmp_path: Path) -> None:
    found = lines(
        tmp_path,
        '{"i": 1, "neg": -1, "f": 1, "mix": 1, "d": "2025-01-01", "ts": "2025-01-01T10:00:00", "o": {"a": 1}, "e": []}',
        '{"i": 2, "neg": 18, "f": 1.5, "mix": "x", "d": "2025-01-02", "ts": "2025-01-01T10:00:01", "o": {"b": [true]}}',
        '{"big": 123456789012345678901, "z": null}',
        "broken",
        '["not", "an", "object"]',
    )
    kinds = {field.name: field.type for field in found.table.schema}
    assert kinds.pop("big") in (pa.float64(), pa.decimal128(38, 0))
    assert kinds == {
        "i": pa.int64(), "neg": pa.int64(), "f": pa.float64(), "mix": JSON, "d": pa.date32(), "ts": pa.timestamp("us"),
        "o": pa.struct([("a", pa.int64()), ("b", pa.list_(pa.bool_()))]), "e": pa.list_(JSON), "z": pa.string(),
    }  # fmt: skip
    assert found.reasons == ["malformed", "malformed"]
    assert found.table.num_rows == 3


def test_a_file_without_any_object_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableData, match="does not hold JSON objects"):
        lines(tmp_path, "a,b", "1,2")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-8-sig", "cp1252"])
def test_other_encodings_are_read_when_named(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes('{"n": 1, "t": "café"}\r\n{"n": 2}'.encode(encoding))
    found = read(source("jsonl", str(tmp_path / "x.jsonl"), encoding=encoding), split_bytes=10)
    assert found.rows == [{"n": 1, "t": "café"}, {"n": 2, "t": None}]


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{}")
    with pytest.raises(InvalidValue, match="utf-9"):
        source("jsonl", str(tmp_path / "x.jsonl"), encoding="utf-9").discover()


def test_keys_of_any_spelling_are_columns(tmp_path: Path) -> None:
    name = 'a/b~c "d" $.é'
    good, bad = json.dumps({name: 1, "": 2}), "broken"
    schema = pa.schema([(name, pa.int64()), ("", pa.int64())])
    for texts in ((good,), (good, bad)):
        assert lines(tmp_path, *texts, schema=schema).rows == [{name: 1, "": 2}]


def test_what_is_written_is_one_object_a_line_in_plain_json(tmp_path: Path) -> None:
    table = pa.table(
        {
            "ts": pa.array([dt.datetime(2025, 1, 1, 10, 0, 0, 5)], pa.timestamp("us")),
            "tz": pa.array([dt.datetime(2025, 1, 1, 10)], pa.timestamp("us", "UTC")),
            "m": pa.array([decimal.Decimal("1.50")]),
            "j": pa.ExtensionArray.from_storage(JSON, pa.array(['{"x":\n1.10}'])),
            "o": pa.array([{"t": dt.datetime(2025, 1, 1), "b": b"hi", "m": decimal.Decimal("2.50")}]),
            "é": ["line\nbreak"],
        }
    )
    write(sink("jsonl", str(tmp_path / "x.jsonl")), table)
    (text,) = (tmp_path / "x.jsonl").read_text().splitlines()
    assert text == (
        '{"ts":"2025-01-01T10:00:00.000005","tz":"2025-01-01T10:00:00Z","m":1.50,"j":{"x": 1.10},'
        '"o":{"t":"2025-01-01T00:00:00","b":"aGk=","m":2.5},"é":"line\\nbreak"}'
    )
    write(sink("jsonl", str(tmp_path / "y.jsonl"), decimals="text"), table)
    assert json.loads((tmp_path / "y.jsonl").read_text())["m"] == "1.50"
    assert json.loads((tmp_path / "y.jsonl").read_text())["o"]["m"] == "2.50"


def test_players_are_the_same_from_three_formats(cases: Path) -> None:
    samples = cases / "dlt" / "tests" / "common" / "storages" / "samples"
    stored = read(source("parquet", str(samples / "parquet" / "mlb_players.parquet")))
    found = read(source("jsonl", str(samples / "jsonl" / "mlb_players.jsonl")))
    rows = read(source("csv", str(samples / "csv" / "mlb_players.csv")))
    assert stored.table.num_rows == found.table.num_rows == rows.table.num_rows == 1034
    assert not stored.rejected + found.rejected

    def plain(result: Result) -> list[list[str]]:
        return [[str(value).strip(' "') if value is not None else "" for value in row.values()] for row in result.rows]

    assert len(plain(found)[0]) == len(plain(stored)[0]) == len(plain(rows)[0])
    assert [row[0] for row in plain(found)] == [row[0] for row in plain(stored)] == [row[0] for row in plain(rows)]
