"""Workbooks: what stands in their cells comes as columns of types, and back; what is no workbook is refused."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import io
import random
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import xlsxwriter

from beam_datahub.component.registry import component
from beam_datahub.component.source import Contract, Drift
from beam_datahub.errors import InvalidValue, LossyWrite, MissingDependency, SchemaDrift, TargetUnusable, UnreadableData
from beam_datahub.kernels.expressions import data_type
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.connectors import read, sink, source, write

D = decimal.Decimal
# What Excel's cells hold as they are, and beyond that what `unfit: text` keeps.
FITTING: dict[str, list[Any]] = {
    "BOOLEAN": [True, False],
    "TINYINT": [-128, 127],
    "SMALLINT": [-32768, 32767],
    "INTEGER": [-(2**31), 2**31 - 1],
    "BIGINT": [-(10**15) + 1, 10**15 - 1],
    "UTINYINT": [0, 255],
    "USMALLINT": [0, 65535],
    "UINTEGER": [0, 2**32 - 1],
    "UBIGINT": [0, 10**15 - 1],
    "FLOAT": [0.1, -1.5],
    "DOUBLE": [0.1, 0.1 + 0.2, 1e300, -5e-324],
    "DECIMAL(18,4)": [D("12345678901.5678"), D("-0.0001"), D("1.5000")],
    "DECIMAL(38,10)": [D("1234567890.5"), D("-0.0000000001")],
    "VARCHAR": ["", "null", 'a"b\\c\nd\te\r\n', "Zoë 🚲", "12", "007", " a ", "<&>", "=1+1", "_x0041_", "\x01"],
    "DATE": [dt.date(1900, 3, 1), dt.date(2025, 1, 31), dt.date(9999, 12, 31)],
    "TIME": [dt.time(0), dt.time(0, 0, 0, 1000), dt.time(23, 59, 59, 999000)],
    "TIMESTAMP": [dt.datetime(1900, 3, 1), dt.datetime(2025, 3, 30, 2, 30, 0, 1000), dt.datetime(9999, 12, 31, 23, 59, 59)],
    "TIMESTAMPTZ": [dt.datetime(2025, 10, 26, 0, 30, tzinfo=dt.UTC), dt.datetime(1969, 12, 31, 23, 59, 59, tzinfo=dt.UTC)],
    "JSON": ['{"a":[1,{"b":null}]}', '"text"', "1", "[]"],
}
UNFIT: dict[str, list[Any]] = {
    "BIGINT": [-(2**63), 9007199254740993],
    "UBIGINT": [2**64 - 1],
    "DOUBLE": [float("inf"), float("-inf")],
    "DECIMAL(18,4)": [D("12345678901234.5678")],
    "DECIMAL(38,10)": [D("1234567890123456789012345678.0123456789")],
    "DATE": [dt.date(1, 1, 1), dt.date(1900, 2, 28)],
    "TIME": [dt.time(23, 59, 59, 999999)],
    "TIMESTAMP": [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), dt.datetime(2025, 1, 1, 0, 0, 0, 1)],
    "TIMESTAMPTZ": [dt.datetime(1899, 12, 31, 23, 59, 59, tzinfo=dt.UTC)],
}


def column(kind: str, values: list[Any]) -> pa.Table:
    target = data_type(kind)
    array = pa.array(values, pa.string() if target == JSON else target)
    array = pa.ExtensionArray.from_storage(JSON, array) if target == JSON else array
    return pa.table({"n": pa.array(range(len(values)), pa.int64()), "v": array})


def workbook(path: Path, *sheets: tuple[str, list[list[Any]]], at: tuple[int, int] = (0, 0)) -> str:
    """A workbook with these sheets; a value that begins with `=` is (formula, value last computed)."""
    book = xlsxwriter.Workbook(str(path))
    day, moment = (book.add_format({"num_format": form}) for form in ("yyyy-mm-dd", "yyyy-mm-dd hh:mm"))
    for name, rows in sheets:
        sheet = book.add_worksheet(name)
        for i, row in enumerate(rows, start=at[0]):
            for j, value in enumerate(row, start=at[1]):
                if isinstance(value, tuple):
                    sheet.write_formula(i, j, value[0], None, value[1])
                elif isinstance(value, dt.date):
                    sheet.write_datetime(i, j, value, moment if isinstance(value, dt.datetime) else day)
                elif value is not None:
                    sheet.write(i, j, value)
    book.close()
    return str(path)


def excel(path: str, **options: Any) -> Any:
    return source("excel", path, **options)


@pytest.mark.parametrize("kind", component("sink", "excel").capabilities.types)
def test_every_type_that_the_destination_claims_comes_back_as_it_was_written(kind: str, tmp_path: Path) -> None:
    given = column(kind, [None, *FITTING[kind], None])
    write(sink("excel", str(tmp_path / "out.xlsx")), given)
    found = read(excel(str(tmp_path / "out.xlsx")), given.schema)
    assert found.rejected == []
    assert found.rows == given.to_pylist()


@pytest.mark.parametrize("kind", list(UNFIT))
def test_what_no_cell_holds_fails_the_run_or_is_kept_as_text(kind: str, tmp_path: Path) -> None:
    for value in UNFIT[kind]:
        with pytest.raises(TargetUnusable, match=r"no cell holds .* of the column 'v'"):
            write(sink("excel", str(tmp_path / "out.xlsx")), column(kind, [value]))
    given = column(kind, [*UNFIT[kind], *FITTING[kind]])
    write(sink("excel", str(tmp_path / "out.xlsx"), unfit="text"), given)
    assert read(excel(str(tmp_path / "out.xlsx")), given.schema).rows == given.to_pylist()


def test_what_cells_cannot_hold_at_all_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    target = sink("excel", str(tmp_path / "out.xlsx"))
    for kind, hint in (("BLOB", "to_base64"), ("VARCHAR[]", "to_json"), ("INTERVAL", "to_json")):
        with pytest.raises(LossyWrite) as refused:
            write(target, schema=pa.schema([("v", data_type(kind))]))
        assert hint in str(refused.value.hint)
    with pytest.raises(LossyWrite, match="differ only in case"):
        write(target, schema=pa.schema([("v", pa.int64()), ("V", pa.int64())]))
    with pytest.raises(InvalidValue, match="compressed inside"):
        write(sink("excel", str(tmp_path / "out.xlsx.gz")), column("BIGINT", [1]))
    with pytest.raises(TargetUnusable, match="32,768 characters"):
        write(target, column("VARCHAR", ["x" * 32768]))
    with pytest.raises(TargetUnusable, match="nothing but nulls"):
        write(target, pa.table({"a": pa.array([1, None])}))


def test_types_are_those_of_the_cells(tmp_path: Path) -> None:
    day, moment = dt.date(2025, 1, 31), dt.datetime(2025, 1, 31, 14, 30)
    rows = [
        ["id", "price", "code", "paid", "day", "at", "mixed"],
        [1, 1.5, "007", True, day, moment, 1],
        [2, 2, "a", False, day, dt.datetime(2025, 2, 1), "x"],
        [3, ("=1+1.25", 2.25), None, None, None, None, True],
    ]
    found = read(excel(workbook(tmp_path / "a.xlsx", ("S", rows))))
    assert [str(kind) for kind in found.table.schema.types] == [
        *("int64", "double", "string", "bool", "date32[day]", "timestamp[us]", "string")
    ]
    assert found.rows[1] == {
        "id": 2,
        "price": 2.0,
        "code": "a",
        "paid": False,
        "day": day,
        "at": dt.datetime(2025, 2, 1),
        "mixed": "x",
    }
    assert found.rows[2]["price"] == 2.25
    assert [row["mixed"] for row in found.rows] == ["1", "x", "true"]


def test_a_table_in_the_middle_of_a_page_is_found_by_its_range(tmp_path: Path) -> None:
    rows = [["Budget 2025"], [], [None, "id", "sum"], [None, 1, 10], [None, 2, 20], [], ["total", None, 30]]
    path = workbook(tmp_path / "a.xlsx", ("S", rows))
    expected = [{"id": 1, "sum": 10}, {"id": 2, "sum": 20}]
    assert read(excel(path, range="B3:C5")).rows == expected
    assert read(excel(path, range="$B$3:$C", empty_rows="end")).rows == expected
    assert read(excel(path, skip_rows=1, range="B:C", empty_rows="end")).rows == expected
    assert read(excel(path, range="B2:C", empty_rows="skip")).table.num_rows == 3
    assert read(excel(path, range="B3:C", empty_rows="keep")).rows[2] == {"id": None, "sum": None}
    assert read(excel(path, range="B4:C5", header_rows=0, columns=["x", "y"])).rows == [{"x": 1, "y": 10}, {"x": 2, "y": 20}]
    assert read(excel(path, range="B4:C5", header_rows=0), pa.schema([("p", pa.int64()), ("q", pa.string())])).rows == [
        {"p": 1, "q": "10"},
        {"p": 2, "q": "20"},
    ]
    with pytest.raises(ValueError, match="no range of cells"):
        excel(path, range="A-B")
    with pytest.raises(ValueError, match="ends before it begins"):
        excel(path, range="C5:B3")
    with pytest.raises(UnreadableData, match="nothing in the sheet"):
        read(excel(path, range="A100:C200"))


def test_sheets_go_by_name_number_and_pattern(tmp_path: Path) -> None:
    months = [(f"2025-0{i}", [["n", "v"], [i, i / 2]]) for i in (1, 2)]
    path = workbook(tmp_path / "a.xlsx", ("Notes", [["hello"]]), *months, ("2025-03", []))
    assert read(excel(path)).rows == []
    assert read(excel(path)).table.schema.names == ["hello"]
    assert read(excel(path, sheet=2)).rows == [{"n": 1, "v": 0.5}]
    assert read(excel(path, sheet="2025-02")).rows == [{"n": 2, "v": 1.0}]
    every = read(excel(path, sheet="2025-*", sheet_column="month"))
    assert every.rows == [{"n": 1, "v": 0.5, "month": "2025-01"}, {"n": 2, "v": 1.0, "month": "2025-02"}]
    for wanted in ("Nots", 9, "x*"):
        with pytest.raises(UnreadableData, match="has no sheet") as refused:
            read(excel(path, sheet=wanted))
        assert "'Notes', '2025-01'" in str(refused.value.hint)
    with pytest.raises(InvalidValue, match="column 'N' of its own"):
        read(excel(path, sheet="2025-01", sheet_column="N"))


def test_a_header_of_several_rows_reaches_over_merged_cells(tmp_path: Path) -> None:
    rows = [["Region", "2024", None, "2025", None], [None, "plan", "actual", "plan", "actual"], ["north", 1, 2, 3, 4]]
    found = read(excel(workbook(tmp_path / "a.xlsx", ("S", rows)), header_rows=2))
    assert found.rows == [{"Region": "north", "2024 plan": 1, "2024 actual": 2, "2025 plan": 3, "2025 actual": 4}]


def test_names_that_repeat_are_refused_and_columns_without_one_are_numbered(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", ("S", [["id", "ID", None, "two\nlines"], [1, 2, 3, 4]]))
    with pytest.raises(UnreadableData, match="several columns called 'id', 'ID'"):
        read(excel(path))
    assert read(excel(path, columns=["a", "b", "c", "d"])).rows == [{"a": 1, "b": 2, "c": 3, "d": 4}]
    assert read(excel(path, range="B:E")).rows == [{"ID": 2, "column1": 3, "two lines": 4}]
    with pytest.raises(UnreadableData, match="has 4 columns, and `columns` names 5"):
        read(excel(path, columns=list("abcde")))


def test_a_cell_with_an_error_does_not_fit_its_column(tmp_path: Path) -> None:
    rows = [["id", "x", "t"], [1, ("=1/0", "#DIV/0!"), "a"], [2, 2.5, ("=NA()", "#N/A")], [], [3, 3.5, "#N/A"]]
    origin = excel(workbook(tmp_path / "a.xlsx", ("S", rows)))
    found = read(origin)
    assert found.table.schema.field("x").type == pa.float64()
    assert found.rows == [{"id": 3, "x": 3.5, "t": "#N/A"}]
    assert [(row["reason"], row["column"], row["line"]) for row in found.rejected] == [
        ("type_mismatch", "x", 2),
        ("type_mismatch", "t", 3),
    ]
    assert found.rejected[0]["message"] == "'#DIV/0!' is not of type DOUBLE"
    assert found.rejected[0]["original"] == '{"id":"1","x":"#DIV/0!","t":"a"}'
    dropped = read(origin, found.table.schema, contract=Contract(types=Drift.DISCARD_VALUE))
    assert [row["x"] for row in dropped.rows] == [None, 2.5, 3.5]
    assert read(origin, found.table.schema, contract=Contract(types=Drift.DISCARD_ROW)).reasons == ["contract", "contract"]
    with pytest.raises(SchemaDrift, match="#DIV/0!"):
        read(origin, found.table.schema, contract=Contract(types=Drift.FREEZE))


def test_a_value_of_another_type_is_rejected_with_its_row(tmp_path: Path) -> None:
    origin = excel(workbook(tmp_path / "a.xlsx", ("S", [["n"], [1], ["many"], [2.5]]), at=(4, 2)))
    found = read(origin, pa.schema([("n", pa.int64())]))
    assert found.rows == [{"n": 1}]
    assert [row["line"] for row in found.rejected] == [7, 8]


def test_a_decimal_is_what_excel_shows_of_it(tmp_path: Path) -> None:
    origin = excel(workbook(tmp_path / "a.xlsx", ("S", [["v"], [0.1 + 0.2], [1.005], [12.345678]])))
    found = read(origin, pa.schema([("v", pa.decimal128(12, 4))]))
    assert [row["v"] for row in found.rows] == [D("0.3000"), D("1.0050")]
    assert found.reasons == ["type_mismatch"]


def test_dates_that_are_texts_take_formats_next_to_real_ones(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", ("S", [["d", "x"], ["31.01.2025", "n/a"], [dt.date(2025, 2, 1), 4]]))
    found = read(excel(path, formats={"d": "%d.%m.%Y"}, null_words=["n/a"]))
    assert found.rows == [{"d": dt.date(2025, 1, 31), "x": None}, {"d": dt.date(2025, 2, 1), "x": 4}]


def test_columns_that_the_schema_lacks_are_told_of(tmp_path: Path) -> None:
    origin = excel(workbook(tmp_path / "a.xlsx", ("S", [["ID", "new"], [1, 2]])))
    schema = pa.schema([("id", pa.int64())])
    found = read(origin, schema)
    assert (found.rows, found.drifted) == ([{"id": 1}], {"new"})
    with pytest.raises(SchemaDrift, match="'new'"):
        read(origin, schema, contract=Contract(columns=Drift.FREEZE))
    assert read(origin, schema, contract=Contract(columns=Drift.DISCARD_ROW)).reasons == ["contract"]
    with pytest.raises(UnreadableData, match="none of the columns other"):
        read(origin, pa.schema([("other", pa.int64())]))


def test_rows_do_not_depend_on_the_size_of_batches_and_a_limit_ends_them(tmp_path: Path) -> None:
    given = pa.table({"n": range(5000), "t": [None if i % 7 == 0 else f"é{i}" for i in range(5000)]})
    write(sink("excel", str(tmp_path / "out.xlsx")), given.slice(0, 2000), given.slice(2000))
    origin = excel(str(tmp_path / "out.xlsx"))
    for request in ({}, {"threads": 2}, {"batch_bytes": 1000}, {"split_bytes": 100}):
        assert read(origin, given.schema, **request).table.equals(given), request
    assert read(origin, given.schema, limit=7).table.equals(given.slice(0, 7))
    assert read(origin, given.schema, columns=["t"]).table.equals(given.select(["t"]))
    assert read(origin, given.schema, columns=[]).table.num_rows == 5000
    assert origin.discover().rows == 5000


def test_a_file_that_is_full_is_followed_by_another_and_one_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beam_datahub.io.excel.sink._MOST_ROWS", 101)
    given = pa.table({"n": range(250)})
    write(sink("excel", str(tmp_path / "out") + "/"), given)
    assert len(list((tmp_path / "out").glob("*.xlsx"))) == 3
    assert read(excel(str(tmp_path / "out")), given.schema).table.sort_by("n").equals(given)
    with pytest.raises(TargetUnusable, match="more than the 100 records") as refused:
        write(sink("excel", str(tmp_path / "out.xlsx")), given)
    assert "write a folder" in str(refused.value.hint)
    assert not (tmp_path / "out.xlsx").exists()


def test_a_folder_begins_a_new_file_at_the_target_size(tmp_path: Path) -> None:
    given = pa.table({"n": range(4000)})
    for table in (given,):
        batches = [table.slice(i, 1000) for i in range(0, 4000, 1000)]
        write(sink("excel", str(tmp_path / "out") + "/", target_file_size=2000), pa.concat_tables(batches))
    assert len(list((tmp_path / "out").glob("*.xlsx"))) == 4


def test_one_file_is_appended_to_unless_it_is_somebody_elses_page(tmp_path: Path) -> None:
    path, given = str(tmp_path / "out.xlsx"), pa.table({"n": [1, 2], "t": ["a", ""]})
    write(sink("excel", path), given)
    write(sink("excel", path), given, run="run2")
    assert read(excel(path), given.schema).rows == given.to_pylist() * 2
    with pytest.raises(TargetUnusable, match="other columns"):
        write(sink("excel", path), pa.table({"x": [1]}), run="run3")
    workbook(tmp_path / "out.xlsx", ("Sheet1", [["n", "t"]]), ("Charts", [["x"]]))
    with pytest.raises(TargetUnusable, match="it has the sheet 'Charts' as well"):
        write(sink("excel", path), given, run="run4")


def test_what_is_written_looks_like_a_table(tmp_path: Path) -> None:
    given = pa.table({"day": [dt.date(2025, 1, 31)], "text": ["x" * 30], "n": [1.5]})
    write(sink("excel", str(tmp_path / "out.xlsx"), sheet="Report"), given)
    with zipfile.ZipFile(tmp_path / "out.xlsx") as archive:
        sheet, styles = (archive.read(f"xl/{name}.xml").decode() for name in ("worksheets/sheet1", "styles"))
    assert '<pane ySplit="1"' in sheet
    assert '<col min="2" max="2" width="32.' in sheet
    assert 'formatCode="yyyy\\-mm\\-dd"' in styles or 'formatCode="yyyy-mm-dd"' in styles
    assert read(excel(str(tmp_path / "out.xlsx"), sheet="Report")).rows == given.to_pylist()


@pytest.mark.parametrize("name", ["", "x" * 32, "a/b", "'a"])
def test_a_sheet_name_that_excel_refuses_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sheet"):
        sink("excel", str(tmp_path / "out.xlsx"), sheet=name)


def test_what_is_no_workbook_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    whole = Path(workbook(path, ("S", [["n"], [1]]))).read_bytes()
    for data, words in ((b"", "is empty"), (b"id,name\n1,a\n", "cannot be read"), (whole[: len(whole) // 2], "cannot be read")):
        path.write_bytes(data)
        with pytest.raises(UnreadableData, match=words):
            read(excel(str(path)))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "x")
    with pytest.raises(UnreadableData, match="cannot be read") as refused:
        read(excel(str(path)))
    assert "is it a workbook" in str(refused.value.hint)


def test_a_workbook_with_a_password_is_said_to_have_one(tmp_path: Path) -> None:
    """The outer container of an encrypted workbook is that of old Office files, with a stream called EncryptedPackage."""
    (tmp_path / "a.xlsx").write_bytes(compound_file("EncryptedPackage"))
    with pytest.raises(UnreadableData, match="protected by a password"):
        read(excel(str(tmp_path / "a.xlsx")))


def compound_file(name: str) -> bytes:
    """The smallest compound file with one empty stream."""
    free, end, fat = (n.to_bytes(4, "little") for n in (0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD))
    header = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + bytes.fromhex("3e000300feff09000600") + bytes(6)
    header += bytes(4) + (1).to_bytes(4, "little") + (1).to_bytes(4, "little") + bytes(4) + (4096).to_bytes(4, "little")
    header += end + bytes(4) + end + bytes(4) + bytes(4) + free * 108

    def entry(title: str, kind: int, child: bytes) -> bytes:
        text = title.encode("utf-16-le") + b"\0\0"
        links = free + free + child
        return text.ljust(64, b"\0") + len(text).to_bytes(2, "little") + bytes([kind, 1]) + links + bytes(36) + end + bytes(8)

    folder = entry("Root Entry", 5, (1).to_bytes(4, "little")) + entry(name, 2, free)
    return header + (fat + end).ljust(512, b"\xff") + folder.ljust(512, b"\0")


def test_a_damaged_workbook_gives_rows_or_a_clear_error(tmp_path: Path) -> None:
    whole = Path(workbook(tmp_path / "a.xlsx", ("S", [["n", "t"], *([i, f"x{i}"] for i in range(50))]))).read_bytes()
    draw = random.Random(7)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(3):
            data[draw.randrange(len(data))] = draw.randrange(256)
        (tmp_path / "a.xlsx").write_bytes(bytes(data))
        # Nothing but a row, a rejected record or an error of ours may come of it.
        with contextlib.suppress(UnreadableData):
            read(excel(str(tmp_path / "a.xlsx")))


def test_an_empty_sheet_has_no_columns_and_with_a_schema_no_records(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", ("S", []))
    with pytest.raises(UnreadableData, match="not even a header"):
        excel(path).discover()
    assert read(excel(path), pa.schema([("n", pa.int64())]), declared=True).rows == []


def test_a_spreadsheet_of_libreoffice_is_read_as_well(tmp_path: Path) -> None:
    def cell(kind: str, value: str, text: str = "") -> str:
        return f'<table:table-cell office:value-type="{kind}" {value}><text:p>{text}</text:p></table:table-cell>'

    rows = [
        [cell("string", "", "n"), cell("string", "", "day"), cell("string", "", "at"), cell("string", "", "ok")],
        [
            cell("float", 'office:value="1.5"'),
            cell("date", 'office:date-value="2025-01-31"'),
            cell("time", 'office:time-value="PT14H05M09S"'),
            cell("boolean", 'office:boolean-value="true"'),
        ],
    ]
    body = "".join(f"<table:table-row>{''.join(row)}</table:table-row>" for row in rows)
    names = "".join(f' xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text"))
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", '<manifest xmlns="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>')
        archive.writestr(
            "content.xml",
            f"<office:document-content{names}><office:body><office:spreadsheet>"
            f'<table:table table:name="S">{body}</table:table>'
            "</office:spreadsheet></office:body></office:document-content>",
        )
    (tmp_path / "a.ods").write_bytes(held.getvalue())
    found = read(excel(str(tmp_path / "a.ods")))
    assert found.rows == [{"n": 1.5, "day": dt.date(2025, 1, 31), "at": "14:05:09", "ok": True}]


def test_without_its_packages_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "a.xlsx", ("S", [["n"], [1]]))
    for package in ("fastexcel", "xlsxwriter"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match="'fastexcel'") as missing:
        read(excel(path))
    assert missing.value.hint == "pip install 'beam-datahub[excel]'"
    with pytest.raises(MissingDependency, match="'xlsxwriter'"):
        write(sink("excel", str(tmp_path / "out.xlsx")), column("BIGINT", [1]))
