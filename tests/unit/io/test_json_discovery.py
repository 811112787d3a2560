"""What discovery proposes for JSON reads the JSON that it was found in."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_datahub.component.json_blocks import discovered
from beam_datahub.kernels.json_lines import JsonLines, Parsed
from beam_datahub.testing.connectors import read, source

_ODD_TEXTS = ("2024-01-01", "2024-01-01T10:00:00.5+02:00", "12:30:00", "1.5", "true", "null", "")
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from((-1, 0, 2**63, 2**64 - 1))
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | st.sampled_from(_ODD_TEXTS)
)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(("a", "A", "b", "é", "a_1")), inner, max_size=4),
    max_leaves=12,
)
_records = st.lists(
    st.dictionaries(st.sampled_from(("a", "b", "é", "c d", "a_1", "x")), _values, max_size=6), min_size=1, max_size=6
)


def lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def parsed(data: bytes, schema: pa.Schema) -> Parsed:
    parser = JsonLines(schema, longest=1 << 20, known=frozenset(schema.names), refuse_unknown=False)
    return parser.parse(data)


@settings(max_examples=12, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(_records)
def test_records_of_any_shape_are_read_by_the_schema_that_is_found_in_them(records: list[dict[str, Any]]) -> None:
    data = lines(records)
    schema, _ = discovered("x.jsonl", [data], 1 << 20)
    if len(schema):
        found = parsed(data, schema)
        assert (found.rejected.to_pylist(), found.misfits.to_pylist()) == ([], [])
        assert all(len(column) == len(records) for column in found.columns)


def test_a_topology_with_lists_of_several_depths_is_read_by_its_own_schema(tmp_path: Path) -> None:
    polygon = {"type": "Polygon", "id": 1, "arcs": [[0, -1, 2]]}
    several = {"type": "MultiPolygon", "id": 2, "arcs": [[[3]], [[5, -3]]]}
    land = {"type": "MultiPolygon", "arcs": [[[0, -1], [2]]]}
    counties = {"type": "GeometryCollection", "geometries": [polygon, several, {"type": None}]}
    topology = {"type": "Topology", "objects": {"counties": counties, "land": land}, "arcs": [[[16814, -1]], [[1, 2], [3, -4]]]}
    (tmp_path / "us.topojson").write_text(json.dumps(topology, indent=1))
    found = read(source("json", str(tmp_path / "us.topojson")))
    assert found.rejected == []
    assert found.rows[0]["objects"]["land"]["arcs"] == [[[0, -1], [2]]]
    assert found.rows[0]["objects"]["counties"]["geometries"][1]["arcs"] == [["[3]"], ["[5,-3]"]]


def test_integers_beyond_a_bigint_and_times_of_day_inside_objects_keep_their_values(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(lines([{"o": {"n": -1, "at": "12:30:00"}}, {"o": {"n": 2**64 - 1, "at": "00:00:01"}}]))
    found = read(source("jsonl", str(tmp_path / "x.jsonl")))
    assert found.rejected == []
    assert [(int(row["o"]["n"]), row["o"]["at"]) for row in found.rows] == [
        (-1, datetime.time(12, 30)),
        (2**64 - 1, datetime.time(0, 0, 1)),
    ]


def test_a_misfit_inside_an_object_with_json_is_no_silent_null() -> None:
    schema = pa.schema([("o", pa.struct([("n", pa.int32()), ("at", pa.time64("us")), ("day", pa.date32())]))])
    fine = {"o": {"n": 2**31 - 1, "at": "12:30:00", "day": None}}
    odd = [{"n": 2**31}, {"n": 2**64 - 1}, {"at": "noon"}, {"day": "2024-02-30", "at": "01:00:00"}]
    found = parsed(lines([fine, {"o": {}}, *({"o": each} for each in odd)]), schema)
    assert found.misfits.column("row").to_pylist() == [2, 3, 4, 5]
    assert found.columns[0][0].as_py() == {"n": 2**31 - 1, "at": datetime.time(12, 30), "day": None}
