"""A kernel session and an input that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.kernels.expressions import compile_expression
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("price", pa.float64()),
        ("amount", pa.decimal128(12, 2)),
        ("name", pa.string()),
        ("Country", pa.string()),
        ("full name", pa.string()),
        ("paid", pa.bool_()),
        ("day", pa.date32()),
        ("seen", pa.timestamp("us")),
        ("tags", pa.list_(pa.int64())),
        ("doc", JSON),
        ("customer", pa.struct([("city", pa.string()), ("zip", pa.int32())])),
        ("items", pa.list_(pa.struct([("sku", pa.string()), ("qty", pa.int64())]))),
        ("labels", pa.map_(pa.string(), pa.int64())),
    ]
)


def table(rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> pa.Table:
    """`rows` in `schema`; a column that a row lacks is null."""
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if field.type == JSON:
            columns.append(pa.ExtensionArray.from_storage(JSON, pa.array(values, pa.string())))
        else:
            columns.append(pa.array(values, field.type))
    return pa.table(columns, schema=schema)


@pytest.fixture(scope="session")
def schema() -> pa.Schema:
    return SCHEMA


@pytest.fixture(scope="module")
def session() -> Iterator[KernelSession]:
    with KernelSession(threads=1) as opened:
        yield opened


@pytest.fixture
def evaluate(session: KernelSession) -> Callable[..., list[Any]]:
    """Compiles an expression and gives its value on each row; its type must be the promised one."""

    def run(value: Any, *rows: dict[str, Any], schema: pa.Schema = SCHEMA) -> list[Any]:
        expression = compile_expression(value, schema, session)
        session.put("input", table(list(rows) or [{}], schema))
        found = session.query(f"SELECT {expression.sql} AS v FROM input")
        assert found.schema.field(0).type == expression.type
        return found.column(0).to_pylist()

    return run
