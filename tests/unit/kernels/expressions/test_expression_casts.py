"""Type names, conversions, and the mask of the rows on which an expression fails."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import cast_sql, compile_expression, data_type, error_mask_sql
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bigint", pa.int64()), ("INT", pa.int32()), ("text", pa.string()), ("string", pa.string()), ("varchar(10)", pa.string()),
        ("decimal(12,2)", pa.decimal128(12, 2)), ("numeric", pa.decimal128(18, 3)), ("json", JSON),
        ("timestamp", pa.timestamp("us")),
        ("timestamptz", pa.timestamp("us", tz="UTC")), ("timestamp with time zone", pa.timestamp("us", tz="UTC")),
        ("timestamp_ns", pa.timestamp("us")), ("date", pa.date32()), ("time", pa.time64("us")), ("bool", pa.bool_()),
        ("varchar[]", pa.list_(pa.string())), ("struct(a int, b json[])", pa.struct([("a", pa.int32()), ("b", pa.list_(JSON))])),
        ("map(varchar, bigint)", pa.map_(pa.string(), pa.int64())), ("hugeint", pa.decimal128(38, 0)), ("uuid", pa.string()),
        ("enum('a', 'b')", pa.string()), ("blob", pa.binary()), ("double", pa.float64()), ("variant", JSON),
        ("interval", pa.month_day_nano_interval()), ("int[3]", pa.list_(pa.int32())),
    ],
)  # fmt: skip
def test_a_type_name_is_the_column_type_that_holds_it(name: str, kind: pa.DataType) -> None:
    assert data_type(name) == kind


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bigit", "did you mean 'bigint'?"), ("varchr[]", "did you mean 'varchar'?"), ("", "SQL"), ("decimal(50,2)", None),
        ("int) + (1", None), ("int, b int", None), ("varchar; drop table x", None), ("(select 1)", None), ("int default 1", None),
        ("int) from (select 1", None), ("union(a int, b varchar)", None), ("null", None), ("int as x", None),
        ("main.int)--", None),
    ],
)  # fmt: skip
def test_what_is_no_type_name_is_refused(name: str, hint: str | None) -> None:
    with pytest.raises(InvalidValue) as caught:
        data_type(name)
    assert (hint or "") in (caught.value.hint or "")


def convert(session: KernelSession, source: pa.DataType, target: pa.DataType, value: Any) -> Any:
    storage = pa.array([value], pa.string() if source == JSON else source)
    session.put("input", pa.table({"c": pa.ExtensionArray.from_storage(JSON, storage) if source == JSON else storage}))
    found = session.query(f"SELECT {cast_sql('c', source, target)} AS v FROM input")
    assert found.schema.field(0).type == target
    return found.column(0).to_pylist()[0]


@pytest.mark.parametrize(
    ("value", "target", "expected"),
    [
        ('"de"', pa.string(), "de"), ("5", pa.string(), "5"), ('{"a":1}', pa.string(), '{"a":1}'), ("null", pa.string(), None),
        ('"5"', pa.int64(), 5), ("5", pa.int64(), 5), ("null", pa.int64(), None), ("true", pa.bool_(), True),
        ('"2024-02-29"', pa.date32(), datetime.date(2024, 2, 29)),
        ('"2024-02-29T01:02:03Z"', pa.timestamp("us"), datetime.datetime(2024, 2, 29, 1, 2, 3)),
        ('"1.50"', pa.decimal128(5, 2), Decimal("1.50")), ('["a","b"]', pa.list_(pa.string()), ["a", "b"]),
        ('{"a":"x","b":[1]}', pa.struct([("a", pa.string()), ("b", pa.list_(pa.int64()))]), {"a": "x", "b": [1]}),
    ],
)  # fmt: skip
def test_json_becomes_the_value_it_stands_for(value: str, target: pa.DataType, expected: Any, session: KernelSession) -> None:
    assert convert(session, JSON, target, value) == expected


def test_json_inside_lists_and_structs_loses_its_quotes_too(session: KernelSession) -> None:
    assert session.query(
        f"SELECT {cast_sql('c', pa.list_(JSON), pa.list_(pa.string()))} AS v FROM "
        "(SELECT [CAST('\"a\"' AS JSON), CAST('1' AS JSON)] AS c)"
    ).column(0).to_pylist() == [["a", "1"]]
    source = pa.struct([("x", JSON), ("l", pa.list_(pa.list_(JSON)))])
    target = pa.struct([("X", pa.string()), ("l", pa.list_(pa.list_(pa.string()))), ("new", pa.int64())])
    data = "(SELECT {'x': CAST('\"a\"' AS JSON), 'l': [[CAST('\"b\"' AS JSON)], NULL]} AS c UNION ALL SELECT NULL)"
    found = session.query(f"SELECT {cast_sql('c', source, target)} AS v FROM {data}").column(0).to_pylist()
    assert found == [{"X": "a", "l": [["b"], None], "new": None}, None]


@pytest.mark.parametrize(
    ("source", "target", "value"),
    [
        (pa.string(), JSON, "{oops"), (pa.string(), JSON, "de"), (JSON, pa.int64(), '"x"'), (JSON, pa.date32(), '"x"'),
        (pa.string(), pa.int64(), "x"), (pa.string(), pa.bool_(), "maybe"), (pa.int64(), pa.int32(), 2**40),
        (JSON, pa.list_(pa.int64()), '{"a":1}'), (JSON, pa.struct([("a", pa.int64())]), '{"a":"x"}'),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_fails(source: pa.DataType, target: pa.DataType, value: Any, session: KernelSession) -> None:
    with pytest.raises(duckdb.Error):
        convert(session, source, target, value)


def test_text_becomes_json_and_other_values_their_json_form(session: KernelSession) -> None:
    assert convert(session, pa.string(), JSON, '{"a": 1}') == '{"a": 1}'
    assert convert(session, pa.int64(), JSON, 5) == "5"
    assert convert(session, pa.date32(), JSON, datetime.date(2024, 1, 2)) == '"2024-01-02"'
    assert convert(session, pa.struct([("a", pa.string())]), JSON, {"a": "x"}) == '{"a":"x"}'


@pytest.mark.parametrize(
    "expression",
    [
        "cast(s as int)", "{'a': cast(s as int)}", "[cast(s as int)]", "case when cast(s as int) > 1 then 1 else 0 end",
        "coalesce(cast(s as int), 0)", "cast(s as int) is null", "cast(s as int) is distinct from 3",
        "concat('a', cast(s as int))",
        "{'a': {'b': [cast(s as int)]}}", "row(cast(s as int))", "list_transform([1, 2], lambda x: x + cast(s as int))",
        "9223372036854775806 + cast(s as int)", "strptime(s, '%H')", "list_filter([1], lambda x: cast(s as int) > 1)",
        "to_json(cast(s as int))", "map([1], [cast(s as int)])",
    ],
)  # fmt: skip
def test_the_mask_is_true_just_where_the_expression_fails(expression: str, session: KernelSession) -> None:
    texts = ["1", "x", None, "", "3"]
    compiled = compile_expression(expression, pa.schema([("s", pa.string())]), session)
    alone = []
    for text in texts:
        session.put("input", pa.table({"s": pa.array([text], pa.string())}))
        try:
            session.query(f"SELECT {compiled.sql} AS v FROM input")
            alone.append(False)
        except duckdb.Error:
            alone.append(True)
    assert any(alone)
    assert not all(alone)
    session.put("input", pa.table({"s": texts}))
    assert session.query(f"SELECT {error_mask_sql(compiled.sql)} AS failed FROM input").column(0).to_pylist() == alone
