"""Formats of dates and times by which nothing can be read are refused before a run, with what was meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.cli.specs import planned
from beam_datahub.errors import InvalidExpression, InvalidValue
from beam_datahub.kernels.expressions import compile_expression
from beam_datahub.kernels.time_formats import refused_time_format
from beam_datahub.spec import load


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("YYYY-MM-DD", "'%Y-%m-%d'"),
        ("dd.MM.yyyy HH:mm:ss", "'%d.%m.%Y %H:%M:%S'"),
        ("yyyy-mm-dd", "'%Y-%m-%d'"),
        ("yyyy-MM-ddTHH:mm:ssZ", "'%Y-%m-%dT%H:%M:%S%z'"),
        ("iso", "'%Y-%m-%d %H:%M:%S'"),
        ("100%%", "'%Y-%m-%d %H:%M:%S'"),
        ("%Y-%Q", "such as"),
    ],
)
def test_what_reads_no_moment_is_refused_with_what_was_meant(text: str, meant: str) -> None:
    refused = refused_time_format(text)
    assert refused is not None
    assert meant in refused.hint


@pytest.mark.parametrize("text", ["%Y-%m-%d", "%d.%m.%y %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S%z", "%-d/%-m/%Y", "%I:%M %p", "%j%%"])
def test_formats_of_strptime_stay(text: str) -> None:
    assert refused_time_format(text) is None


@pytest.mark.parametrize(
    ("option", "keys"),
    [
        ({"formats": {"day": "DD.MM.YYYY"}}, ("formats", "day")),
        ({"formats": {"day": ["%d.%m.%Y", "DD.MM.YYYY"]}}, ("formats", "day")),
        ({"date_format": "DD.MM.YYYY"}, ("date_format",)),
    ],
)
def test_validate_places_a_wrong_format_of_delimited_text(option: dict[str, Any], keys: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("day\n01.02.2024\n")
    spec = {"name": "x", "source": {"connector": "csv", "connection": {"path": "x.csv"}, **option}}
    (tmp_path / "x.json").write_text(json.dumps({**spec, "destination": {"connector": "console"}}))
    with pytest.raises(InvalidValue, match=r"'DD\.MM\.YYYY' is no format of dates or times") as caught:
        planned(load(tmp_path / "x.json"))
    assert caught.value.hint == "write '%d.%m.%Y'"
    assert caught.value.place is not None
    assert caught.value.place.path == ("source", *keys)


@pytest.mark.parametrize("call", ["strptime(day, 'YYYY-MM-DD')", "try_strptime(day, ['%Y-%m-%d', 'YYYY-MM-DD'])"])
def test_a_constant_format_of_an_expression_is_refused_too(call: str) -> None:
    schema = pa.schema([("day", pa.string())])
    with pytest.raises(InvalidExpression, match="'YYYY-MM-DD' is no format") as caught:
        compile_expression(call, schema)
    assert caught.value.hint == "write '%Y-%m-%d'"
    assert compile_expression("strptime(day, '%Y-%m-%d')", schema).type == pa.timestamp("us")
