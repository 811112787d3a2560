"""Reading CSV files: what a user gets for good files, odd files and broken ones."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from beam_datahub.component.files import FileConnection
from beam_datahub.component.source import Contract, Drift, ReadRequest
from beam_datahub.errors import SchemaDrift, SourceMissing, UnreadableData
from beam_datahub.io.csv import CsvReadOptions, CsvSource
from beam_datahub.kernels.types import TIMESTAMP, TIMESTAMPTZ

Read = Callable[..., "Result"]


class Result:
    """All that a read gave: the schema, the rows, the rejected records and the drifted columns."""

    def __init__(self, source: CsvSource, schema: pa.Schema | None, **request: Any) -> None:
        self.schema = source.discover().schema if schema is None else schema
        wanted = request.pop("columns", tuple(self.schema.names))
        asked = ReadRequest(self.schema, wanted, **request)
        self.rows: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []
        self.drifted: set[str] = set()
        for split in source.splits(asked):
            for block in source.read(split, asked):
                assert block.batch.schema == asked.projected
                self.rows += block.batch.to_pylist()
                self.drifted |= set(block.drifted)
                for one in block.rejected.to_pylist() if block.rejected is not None else []:
                    assert block.originals is not None
                    one["original"] = block.originals([one["row"]])[0]
                    one["line"] = block.lines([one["row"]])[0] if block.lines else None
                    self.rejected.append(one)

    @property
    def reasons(self) -> list[str]:
        return [one["reason"] for one in self.rejected]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def go(data: str | bytes, schema: pa.Schema | None = None, request: dict[str, Any] | None = None, **options: Any) -> Result:
        path = tmp_path / "data.csv"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return Result(CsvSource(FileConnection(path=str(path)), CsvReadOptions(**options)), schema, **(request or {}))

    return go


def schema(**types: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in types.items()])


def test_types_are_found_by_looking_at_the_values(read: Read) -> None:
    found = read(
        "id,price,code,ok,day,at,zoned,big,mixed,nothing\n"
        "1,1.5,007,true,2025-01-31,2025-01-31 10:00:00,2025-01-31T10:00:00Z,12345678901234567890,1,\n"
        "-2,3,012,FALSE,2025-02-01,2025-01-31,2025-01-31T10:00:00+02:00,1,x,\n"
    )
    text = pa.string()
    kinds = [pa.int64(), pa.float64(), text, pa.bool_(), pa.date32(), TIMESTAMP, TIMESTAMPTZ, text, text, text]
    assert found.schema.types == kinds
    assert found.rows[0]["code"] == "007"
    assert found.rows[1]["zoned"] == dt.datetime(2025, 1, 31, 8, tzinfo=dt.UTC)


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(read: Read, sign: str) -> None:
    assert read(f"a{sign}b\n1{sign}x y\n2{sign}z\n").rows == [{"a": 1, "b": "x y"}, {"a": 2, "b": "z"}]


def test_only_the_columns_asked_for_are_read(read: Read) -> None:
    found = read("a,b,c\n1,x,y\n", request={"columns": ("c", "a")}, schema=schema(c=pa.string(), a=pa.int64(), b=pa.string()))
    assert found.rows == [{"c": "y", "a": 1}]


def test_a_value_that_does_not_fit_rejects_its_record_alone(read: Read) -> None:
    found = read('a,b\n1,x\n"12,x","multi\nline"\n3,y\n', schema=schema(a=pa.int64(), b=pa.string()))
    assert found.rows == [{"a": 1, "b": "x"}, {"a": 3, "b": "y"}]
    (one,) = found.rejected
    assert (one["reason"], one["message"], one["column"]) == ("type_mismatch", "'12,x' is not a BIGINT", "a")
    assert json.loads(one["original"]) == {"a": "12,x", "b": "multi\nline"}
    assert (one["row"], one["line"]) == (1, 3)


def test_a_long_misfit_is_quoted_shortened(read: Read) -> None:
    (one,) = read("a\n" + "x" * 500 + "\n", schema=schema(a=pa.int64()), header=True).rejected
    assert len(one["message"]) < 110
    assert "…" in one["message"]


@pytest.mark.parametrize("drift", ["freeze", "discard_row", "discard_value"])
def test_the_contract_decides_about_misfits(read: Read, drift: str) -> None:
    wanted, request = schema(a=pa.int64(), b=pa.string()), {"contract": Contract(types=Drift(drift))}
    if drift == "freeze":
        with pytest.raises(SchemaDrift, match=r"line 3, column 'a': 'x' is not a BIGINT"):
            read("a,b\n1,p\nx,q\n", schema=wanted, request=request)
        return
    found = read("a,b\n1,p\nx,q\n", schema=wanted, request=request)
    assert found.reasons == (["contract"] if drift == "discard_row" else [])
    assert len(found.rows) == (1 if drift == "discard_row" else 2)


@pytest.mark.parametrize("drift", ["evolve", "freeze", "discard_row", "discard_value"])
def test_the_contract_decides_about_unknown_columns(read: Read, drift: str) -> None:
    request = {"contract": Contract(columns=Drift(drift))}
    if drift == "freeze":
        with pytest.raises(SchemaDrift, match="new"):
            read("a,new\n1,2\n", schema=schema(a=pa.int64()), request=request)
        return
    found = read("a,new\n1,2\n", schema=schema(a=pa.int64()), request=request)
    assert found.drifted == (set() if drift == "discard_value" else {"new"})
    assert (found.rows, found.reasons) == (([], ["contract"]) if drift == "discard_row" else ([{"a": 1}], []))


def test_files_with_other_headers_match_by_name(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,x\n")
    (tmp_path / "2.csv").write_text("B;c\ny;2.5\n")
    found = Result(CsvSource(FileConnection(path=str(tmp_path)), CsvReadOptions()), schema(a=pa.int64(), b=pa.string()))
    assert found.rows == [{"a": 1, "b": "x"}, {"a": None, "b": "y"}]
    assert found.drifted == {"c"}


@pytest.mark.parametrize(
    ("ragged", "rows", "rejected"),
    [
        ("reject", [1], ["expected 2 fields, found 1", "expected 2 fields, found 3"]),
        ("pad", [1, 2], ["expected 2 fields, found 3"]),
        ("fit", [1, 2, 3], []),
    ],
)
def test_ragged_records_are_rejected_or_mended(read: Read, ragged: str, rows: list[int], rejected: list[str]) -> None:
    found = read("a,b\n1,x\n2\n3,y,z\n", ragged=ragged)
    assert [row["a"] for row in found.rows] == rows
    assert [one["message"] for one in found.rejected] == rejected
    assert all(one["original"] in ("2", "3,y,z") for one in found.rejected)


@pytest.mark.parametrize(
    "data",
    [
        "a,b\r\n1,x\r\n2,y",
        "a,b\r1,x\r2,y\r",
        "a,b\n1,x\r2,y\r\n",
        "\ufeffa,b\n1,x\n2,y\n",
        '# note, "open\n\na,b\n# x\n1,x\n\n2,y\n',
        "\n\na,b\n1,x\n2,y\n",
    ],
)
def test_line_ends_marks_and_comments_do_not_matter(read: Read, data: str) -> None:
    assert read(data, comment="#").rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "latin-1", "cp1252"])
def test_other_encodings_are_read(read: Read, encoding: str) -> None:
    assert read("a,ä\n1,üß\n".encode(encoding), encoding=encoding).rows == [{"a": 1, "ä": "üß"}]


def test_bytes_that_are_not_valid_reject_their_record_alone(read: Read) -> None:
    found = read(b"a,b\n1,x\n2,\xff\xfe\n3,y\n")
    assert [row["a"] for row in found.rows] == [1, 3]
    assert (found.reasons, found.rejected[0]["line"]) == (["encoding"], 3)
    assert [row["b"] for row in read(b"a,b\n1,x\n2,\xff\n", encoding_errors="replace").rows] == ["x", "\ufffd"]
    assert read(b"a,b\n1,\x81\n2,y\n", encoding="cp1252").reasons == ["encoding"]


def test_null_words_are_null_only_unquoted(read: Read) -> None:
    found = read('a,b\nNA,NA\n1,"NA"\n,\n2,""\n', null_words=("", "NA"))
    assert found.rows == [{"a": None, "b": None}, {"a": 1, "b": "NA"}, {"a": None, "b": None}, {"a": 2, "b": ""}]


def test_numbers_and_dates_in_local_forms(read: Read) -> None:
    found = read(
        "betrag;tag;zeit\n1.234,56;31.01.2025;31.01.2025 14:05\n-7,5;01.02.2025;01.02.2025 00:00\n",
        decimal_point=",", thousands=".", formats={"tag": "%d.%m.%Y"}, timestamp_format="%d.%m.%Y %H:%M",
    )  # fmt: skip
    assert found.schema.types == [pa.float64(), pa.date32(), TIMESTAMP]
    assert found.rows[0] == {"betrag": 1234.56, "tag": dt.date(2025, 1, 31), "zeit": dt.datetime(2025, 1, 31, 14, 5)}


def test_blanks_are_trimmed_on_request(read: Read) -> None:
    assert read(" a , b \n 1 , x \n 2 ,  \n", trim=True).rows == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]


def test_escapes_and_no_quotes(read: Read) -> None:
    assert read('a,b\n1,x\\,y\n2,"p\\"q"\n', escape="\\", double_quote=False).rows[1] == {"a": 2, "b": 'p"q'}
    assert read('a,b\n1,5" pipe\n2,"x\n', quote=None).rows == [{"a": 1, "b": '5" pipe'}, {"a": 2, "b": '"x'}]


def test_files_without_a_header(read: Read) -> None:
    assert read("1,2\n3,4\n").rows[0] == {"column0": 1, "column1": 2}
    assert read("x,y\n", columns=("a", "b")).rows == [{"a": "x", "b": "y"}]
    assert read("p,q\n1,2\n", header=True, columns=("a", "b")).rows == [{"a": 1, "b": 2}]
    assert read("junk\np,q\n1,2\n", skip_rows=1).rows == [{"p": 1, "q": 2}]


def test_a_quote_that_is_never_closed_costs_one_line(read: Read) -> None:
    found = read('a,b\n1,x\n2,"y\n3,z\n4,w\n')
    assert [row["a"] for row in found.rows] == [1, 3, 4]
    assert (found.reasons, found.rejected[0]["original"], found.rejected[0]["line"]) == (["malformed"], '2,"y', 3)


def test_a_record_that_is_too_long_is_rejected(read: Read) -> None:
    found = read("a,b\n1,x\n2," + "y" * 5_000_000 + "\n3,z\n", max_record_bytes=100_000, request={"batch_bytes": 1 << 20})
    assert [row["a"] for row in found.rows] == [1, 3]
    assert found.reasons == ["malformed"]
    assert len(found.rejected[0]["original"]) < 10_000


def test_one_column_may_be_null(read: Read) -> None:
    assert read("a\n1\n\n2\n").rows == [{"a": 1}, {"a": None}, {"a": 2}]
    assert read("a\n1\n\n2\n", empty_lines="skip").rows == [{"a": 1}, {"a": 2}]


def test_a_header_alone_gives_no_rows(read: Read) -> None:
    found = read("a,b\n")
    assert (found.rows, found.schema.types) == ([], [pa.string(), pa.string()])


def test_an_empty_file_needs_a_schema(read: Read) -> None:
    with pytest.raises(UnreadableData, match="empty") as failure:
        read("")
    assert "schema" in (failure.value.hint or "")
    assert read("", schema=schema(a=pa.int64()), request={"declared": True}).rows == []


def test_a_binary_file_is_refused(read: Read) -> None:
    with pytest.raises(UnreadableData, match="zero bytes"):
        read(bytes(range(256)) + b"\0" * 100)


def test_repeated_names_are_refused(read: Read) -> None:
    with pytest.raises(UnreadableData, match="'a', 'A'") as failure:
        read("a,A,b\n1,2,3\n")
    assert "columns" in (failure.value.hint or "")
    assert read("a,A\n1,2\n", columns=("x", "y"), header=True).rows == [{"x": 1, "y": 2}]


def test_a_file_of_another_kind_is_refused(read: Read) -> None:
    with pytest.raises(UnreadableData, match="none of the columns"):
        read("p;q\n1;2\n", schema=schema(a=pa.int64(), b=pa.string()))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SourceMissing):
        CsvSource(FileConnection(path=str(tmp_path / "no.csv")), CsvReadOptions()).discover()


def test_a_truncated_gzip_is_reported(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"{i},{i * 7919 % 1000003}\n" for i in range(200_000)).encode())
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    source = CsvSource(FileConnection(path=str(tmp_path / "a.csv.gz")), CsvReadOptions(header=False))
    with pytest.raises(UnreadableData, match=r"a\.csv\.gz"):
        Result(source, schema(column0=pa.int64(), column1=pa.int64()))
    (tmp_path / "a.csv.gz").write_bytes(whole)
    assert len(Result(source, None).rows) == 200_000


@pytest.mark.parametrize("size", [30, 100, 1000])
def test_byte_ranges_give_each_record_once(tmp_path: Path, size: int) -> None:
    (tmp_path / "a.csv").write_text("id,text\n" + "".join(f"{i},{'x' * (i % 13)}\n" for i in range(200)))
    source = CsvSource(FileConnection(path=str(tmp_path / "a.csv")), CsvReadOptions(line_breaks_in_values=False))
    found = Result(source, schema(id=pa.int64(), text=pa.string()), split_bytes=size)
    assert [row["id"] for row in found.rows] == list(range(200))


def test_a_reader_that_stops_early_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n" + "1,x\n" * 500_000)
    source = CsvSource(FileConnection(path=str(tmp_path / "a.csv")), CsvReadOptions())
    wanted = schema(a=pa.int64(), b=pa.string())
    request = ReadRequest(wanted, ("a", "b"), batch_bytes=100_000, threads=2)
    before = threading.active_count()
    blocks = source.read(next(source.splits(request)), request)
    next(blocks)
    assert threading.active_count() > before
    blocks.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "options",
    [{"delimiter": "||"}, {"delimiter": ";", "quote": ";"}, {"encoding": "klingon"}, {"thousands": "."}, {"delimeter": ";"}],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CsvReadOptions(**options)
