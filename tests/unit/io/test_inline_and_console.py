"""Rows from the spec and rows to the terminal."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.sink import WriteRequest
from beam_datahub.component.source import Source
from beam_datahub.errors import InvalidValue
from beam_datahub.io.console import ConsoleConnection, ConsoleOptions, ConsoleSink
from beam_datahub.io.inline import InlineConnection, InlineOptions, InlineSource
from beam_datahub.testing.connectors import read, stage


def inline(*rows: dict[str, Any]) -> Source:
    return InlineSource(InlineConnection(), InlineOptions(rows=rows))


def test_rows_of_the_spec_get_the_types_that_they_show() -> None:
    found = read(inline({"a": 1, "d": dt.date(2025, 1, 1), "o": {"x": [1.5]}}, {"a": 2, "f": float("nan")}))
    assert found.table.schema.names == ["a", "d", "o", "f"]
    assert found.rows[0] == {"a": 1, "d": dt.date(2025, 1, 1), "o": {"x": [1.5]}, "f": None}


def test_rows_that_do_not_fit_the_declared_schema_are_rejected() -> None:
    schema = pa.schema([("a", pa.int64()), ("t", pa.timestamp("us"))])
    found = read(inline({"a": 1, "t": dt.datetime(2025, 1, 1)}, {"a": "x"}, {"a": "3"}), schema)
    assert [row["a"] for row in found.rows] == [1, 3]
    assert [(row["reason"], row["row"], row["original"]) for row in found.rejected] == [("type_mismatch", 1, '{"a": "x"}')]


def test_no_rows_are_fine_and_a_limit_holds() -> None:
    assert read(inline(), pa.schema([("a", pa.int64())])).table.num_rows == 0
    assert inline().discover().schema.names == []
    assert read(inline(*({"a": i} for i in range(9))), limit=4).table.num_rows == 4


def test_the_terminal_shows_the_first_rows_once_and_only_after_the_commit(capsys: pytest.CaptureFixture[str]) -> None:
    table = pa.table({"name": ["[bold]x", None, "last"], "o": [{"a": 1}, None, {"a": None}]})
    console, request = (
        ConsoleSink(ConsoleConnection(), ConsoleOptions(limit=2)),
        WriteRequest("console test", "out", table.schema),
    )
    console.plan_write(request)
    console.prepare(request)
    receipts = stage(console, request, [table, table])
    assert capsys.readouterr().out == ""
    assert console.commit(request, receipts).rows == 6
    shown = capsys.readouterr().out
    assert "[bold]x" in shown
    assert '{"a":1}' in shown
    assert "6 rows, the first 2 shown" in shown
    assert "last" not in shown
    assert console.commit(request, receipts).rows == 6
    assert capsys.readouterr().out == ""


def test_an_aborted_run_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console, request = (
        ConsoleSink(ConsoleConnection(), ConsoleOptions()),
        WriteRequest("aborted", "out", pa.schema([("a", pa.int64())])),
    )
    console.prepare(request)
    stage(console, request, [pa.table({"a": [1]})])
    console.abort(request)
    assert capsys.readouterr().out == ""
    with pytest.raises(InvalidValue):
        console.plan_write(WriteRequest("r", "out", request.schema, WriteMode.OVERWRITE))
