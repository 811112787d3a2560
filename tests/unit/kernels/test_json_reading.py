from __future__ import annotations

import subprocess
import sys

import duckdb
import pytest

from beam_datahub.kernels.expressions import data_type, read_json_sql
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import literal


@pytest.mark.parametrize(
    ("text", "sql", "expected"),
    [
        ('{"a": 1, "z": 2}', "struct(a integer, b varchar)", {"a": 1, "b": None}),
        ("{}", "struct(a integer)", {"a": None}),
        ("null", "struct(a integer)", None),
        ('[{"l": [1, null]}, null, {}]', "struct(l integer[])[]", [{"l": [1, None]}, None, {"l": None}]),
        ('{"a": {"b": [{"c": "1.50"}]}}', "struct(a struct(b struct(c decimal(5,2))[]))", "1.50"),
        ('{"we\\"ird $.x": 5}', 'struct("we""ird $.x" integer)', {'we"ird $.x': 5}),
        ("null", "integer[]", None),
        ('{"k": {"x": [1]}}', "struct(k json)", {"k": '{"x":[1]}'}),
    ],
)
def test_what_an_object_lacks_is_null_and_what_it_has_besides_is_left_out(text: str, sql: str, expected: object) -> None:
    with KernelSession(threads=1) as session:
        found = session.query(f"SELECT {read_json_sql(f'CAST({literal(text)} AS JSON)', data_type(sql))} AS v")["v"].to_pylist()[
            0
        ]
    if expected == "1.50":
        assert str(found["a"]["b"][0]["c"]) == "1.50"
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("5", "struct(a integer)"),
        ('["x"]', "integer[]"),
        ('{"a": ', "struct(a integer)"),
        ('{"a": 1}', "integer[]"),
        ('{"a": "x"}', "struct(a integer)"),
    ],
)
def test_a_value_of_another_kind_fails(text: str, sql: str) -> None:
    with KernelSession(threads=1) as session, pytest.raises(duckdb.Error):
        session.query(f"SELECT {read_json_sql(f'CAST({literal(text)} AS JSON)', data_type(sql))} AS v")


def test_sound_lines_load_no_pandas() -> None:
    """It takes longer than to read some megabytes."""
    program = """
import sys
import pyarrow as pa
from beam_datahub.kernels.json_lines import JsonLines
data = b'{"id": 1, "at": "2024-05-06T07:08:09", "items": [{"price": 2.5}]}\\n' * 1000
items = pa.list_(pa.struct([pa.field("price", pa.float64())]))
schema = pa.schema([("id", pa.int64()), ("at", pa.timestamp("us")), ("items", items)])
parser = JsonLines(schema, longest=1 << 20, known=frozenset(schema.names), refuse_unknown=False)
assert parser.strangers(data) == []
assert [len(column) for column in parser.parse(data).columns] == [1000] * 3
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
