from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.kernels.types import TIMESTAMP
from beam_datahub.kernels.widening import widest
from beam_datahub.testing.steps import run_step


def test_columns_meet_by_name_in_a_type_that_holds_all_values() -> None:
    given = {
        "a": pa.table({"n": pa.array([1], pa.int32()), "d": pa.array([Decimal("1.5")], pa.decimal128(4, 1))}),
        "b": pa.table({"d": pa.array([2], pa.int64()), "n": pa.array([2**40], pa.int64()), "x": ["y"]}),
    }
    found = run_step("union", {}, given)
    assert found.schema.names == ["n", "d", "x"]
    assert sorted(map(str, (tuple(row.values()) for row in found.rows))) == sorted(
        map(str, [(1, Decimal("1.5"), None), (2**40, Decimal("2.0"), "y")])
    )


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((pa.int8(), pa.uint8()), pa.int16()),
        ((pa.int64(), pa.uint64()), pa.decimal128(20, 0)),
        ((pa.int32(), pa.float32()), pa.float64()),
        ((pa.decimal128(10, 2), pa.decimal128(6, 4)), pa.decimal128(12, 4)),
        ((pa.decimal128(38, 0), pa.decimal128(38, 10)), pa.float64()),
        ((pa.date32(), TIMESTAMP), TIMESTAMP),
        ((pa.list_(pa.int8()), pa.list_(pa.int16())), pa.list_(pa.int16())),
        ((pa.string(), pa.int64()), None),
        ((pa.string(), pa.int64(), pa.string()), None),
        ((pa.bool_(), pa.int8()), None),
    ],
)
def test_the_widest_type_holds_the_values_of_all(types: tuple[pa.DataType, ...], expected: pa.DataType | None) -> None:
    assert widest(types) == expected
    assert widest(types[::-1]) == expected


def test_inputs_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(DataHubError, match="'n' is BIGINT in 'a', VARCHAR in 'b'"):
        run_step("union", {}, {"a": [{"n": 1}], "b": [{"n": "x"}]})
    with pytest.raises(DataHubError, match="the input 'b' lacks the column 'm'"):
        run_step("union", {"missing": "refuse"}, {"a": [{"n": 1, "m": 2}], "b": [{"n": 1}]})
    with pytest.raises(DataHubError, match="called 'N' in 'b'"):
        run_step("union", {}, {"a": [{"n": 1}], "b": [{"N": 1}]})
