from __future__ import annotations

import datetime
import json

import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.kernels.session import KernelSession
from beam_datahub.testing.steps import run_step

TYPES = {"input": {"id": "bigint", "l": "bigint[]", "o": "struct(id bigint, when_ struct(d date))[]", "j": "json"}}
ROWS = [
    {"id": 1, "l": [1, None, 3], "o": [{"id": 5, "when_": {"d": datetime.date(2025, 1, 31)}}, None], "j": '[{"a": 1}, {"b": 2}]'},
    {"id": 2, "l": [], "o": None, "j": "null"},
    {"id": 3, "l": None, "o": [{"id": 6, "when_": None}], "j": None},
    {"id": 4, "l": [7], "o": [], "j": '{"a": 1}'},
]


@pytest.mark.parametrize("slice_rows", [None, 1, 3])
def test_each_element_becomes_a_row_in_its_order(slice_rows: int | None) -> None:
    found = run_step("flatten", {"unnest": "L", "position": "p"}, {"input": ROWS}, schema=TYPES, slice_rows=slice_rows)
    assert found.schema.names == ["id", "l", "p", "o", "j"]
    assert sorted((row["id"], row["p"], str(row["l"])) for row in found.rows) == [
        (1, 1, "1"),
        (1, 2, "None"),
        (1, 3, "3"),
        (4, 1, "7"),
    ]
    books = found.books["step"]
    assert (books["in"], books["out"], books["filtered"], books["added"]) == (4, 4, 2, 2)


def test_an_outer_flatten_loses_no_row() -> None:
    found = run_step("flatten", {"unnest": "l", "position": "p", "outer": True}, {"input": ROWS}, schema=TYPES)
    assert sorted((row["id"], str(row["p"])) for row in found.rows) == [
        (1, "1"),
        (1, "2"),
        (1, "3"),
        (2, "None"),
        (3, "None"),
        (4, "1"),
    ]


def test_elements_that_are_structs_become_columns_at_every_depth() -> None:
    found = run_step("flatten", {"unnest": "o", "structs": "all"}, {"input": ROWS}, schema=TYPES)
    assert found.schema.names == ["id", "l", "o_id", "o_when__d", "j"]
    assert sorted(map(str, ((row["id"], row["o_id"], row["o_when__d"]) for row in found.rows))) == sorted(
        map(str, [(1, 5, datetime.date(2025, 1, 31)), (1, None, None), (3, 6, None)])
    )
    other = run_step("flatten", {"unnest": "o", "prefix": "item.", "separator": "."}, {"input": ROWS}, schema=TYPES)
    assert other.schema.names == ["id", "l", "item.id", "item.when_.d", "j"]


def test_json_arrays_are_unnested_and_what_is_none_is_rejected() -> None:
    config = {"unnest": "j", "element": "struct(a integer, b integer)", "prefix": ""}
    found = run_step("flatten", config, {"input": ROWS}, schema=TYPES)
    assert sorted(map(str, ((row["id"], row["a"], row["b"]) for row in found.rows))) == ["(1, 1, None)", "(1, None, 2)"]
    assert [(record["reason"], record["column"]) for record in found.rejected] == [("cast_failed", "j")]
    untyped = run_step("flatten", {"unnest": "j"}, {"input": ROWS}, schema=TYPES)
    assert [json.loads(row["j"]) for row in untyped.rows] == [{"a": 1}, {"b": 2}]


def test_json_inside_lists_and_structs_is_kept() -> None:
    with KernelSession(threads=1) as session:
        table = session.query("SELECT ['{\"z\":1}'::JSON, NULL] AS l, [{'j': '[2]'::JSON}] AS s")
    assert [row["l"] for row in run_step("flatten", {"unnest": "l"}, {"input": table}).rows] == ['{"z":1}', None]
    assert [row["s_j"] for row in run_step("flatten", {"unnest": "s"}, {"input": table}).rows] == ["[2]"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "nothing to flatten"),
        ({"unnest": "id"}, "and no list"),
        ({"unnest": "m"}, "unknown column 'm'"),
        ({"unnest": "l", "element": "integer"}, "have a type already"),
        ({"unnest": "l", "position": "ID"}, "two columns called 'ID'"),
        ({"unnest": "o", "prefix": ""}, "two columns called 'id'"),
        ({"structs": ["id"]}, "and no struct"),
    ],
)
def test_a_wrong_flatten_is_refused(config: dict[str, object], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("flatten", config, {"input": ROWS}, schema=TYPES)
