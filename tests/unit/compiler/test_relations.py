"""A Parquet file that a step's query reads itself gives the same rows, rejects and books as one that is read for it."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from beam_datahub.cli import main
from beam_datahub.compiler.relations import RelationReader
from beam_datahub.component import files
from beam_datahub.component.source import ReadRequest, Relation
from beam_datahub.testing.connectors import source

_SPEC = """
name: readings
source:
  connector: parquet
  connection: {{path: "{path}"}}
  schema: {{id: integer, name: varchar, value: double, price: "decimal(10,2)", at: timestamp}}
transformations:
  - {{id: some, type: filtering, config: {{where: "{where}"}}}}
  - {{id: shown, type: mapping, config: {{fields: {{id: id, name: upper(name), value: value, share: {share}, at: at}}}}}}
destination: {{connector: jsonl, connection: {{path: out.jsonl}}, write_mode: overwrite}}
dead_letter: {{connector: jsonl, connection: {{path: rejected.jsonl}}}}
"""
_ROWS = 3000


def _readings(**columns: Any) -> pa.Table:
    given: dict[str, Any] = {
        "id": pa.array(range(_ROWS), pa.int64()),
        "name": ["a", None, "ü", "it's"] * (_ROWS // 4),
        "value": [1.0, 2.0, None, -0.0, math.nan, 0.5] * (_ROWS // 6),
        "price": pa.array([Decimal("1.25"), None, Decimal("-3.00")] * (_ROWS // 3), pa.decimal128(10, 2)),
        "at": pa.array([0, None, 1_700_000_000_000_001] * (_ROWS // 3), pa.timestamp("us")),
        "unused": ["x"] * _ROWS,
    }
    return pa.table(given | columns)


def _answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, large: bool, where: str, share: str = "value / 2"
) -> tuple[Any, ...]:
    """What a run over `in.parquet` gives, where it counts as `large` or not, and which relations its query has read."""
    taken: list[bool] = []

    def run(reader: RelationReader, relation: Relation, *others: Any) -> Any:
        found = _RUN(reader, relation, *others)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(files, "_RELATION_BYTES", 0 if large else 1 << 40)
    monkeypatch.setattr(RelationReader, "run", run)
    (folder / "rejected.jsonl").unlink(missing_ok=True)
    (folder / "spec.yaml").write_text(_SPEC.format(path="in.parquet", where=where, share=share))
    ended = CliRunner().invoke(main, ["run", str(folder / "spec.yaml"), "--json"])
    if ended.exit_code:
        return ended.exit_code, json.loads(ended.stdout)["error"]["reason"], taken
    rows, letters = (_lines(folder / name) for name in ("out.jsonl", "rejected.jsonl"))
    facts = [tuple(one.get(name) for name in ("step", "reason", "message", "column", "original", "row")) for one in letters]
    record = json.loads(ended.stdout)
    return rows, facts, record["books"], record["drifted"], taken


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


_RUN = RelationReader.run


@pytest.mark.parametrize("where", ["value > 10", "name = 'ü' or value = 0", "id >= 1500 and price is null"])
def test_a_query_finds_the_same_in_a_file_as_in_its_batches(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(_readings(), tmp_path / "in.parquet", row_group_size=500)
    *found, taken = _answer(tmp_path, monkeypatch, large=True, where=where)
    *wanted, read = _answer(tmp_path, monkeypatch, large=False, where=where)
    assert (taken, read) == ([True], [])
    assert found == wanted
    assert len(found[0])
    assert found[2]["source"]["read"] == _ROWS


def test_a_record_on_which_the_query_fails_is_rejected_with_all_that_is_known_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(_readings(name=["1", "2", "x"] * (_ROWS // 3)), tmp_path / "in.parquet", row_group_size=500)
    *found, taken = _answer(tmp_path, monkeypatch, large=True, where="id < 1000", share="cast(name as integer)")
    *wanted, _ = _answer(tmp_path, monkeypatch, large=False, where="id < 1000", share="cast(name as integer)")
    assert taken == [False]
    assert found == wanted
    assert len(found[1]) == 333


def test_a_value_that_does_not_fit_is_refused_also_where_a_filter_would_drop_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [*range(_ROWS - 1), 1 << 40]
    pq.write_table(_readings(id=pa.array(numbers, pa.int64())), tmp_path / "in.parquet", row_group_size=500)
    _, facts, books, _, taken = _answer(tmp_path, monkeypatch, large=True, where="id < 10")
    assert taken == []
    assert [fact[1] for fact in facts] == ["type_mismatch"]
    assert books["source"]["rejected"] == 1


def test_a_damaged_page_with_a_checksum_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.parquet"
    options: dict[str, Any] = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(_readings(), path, **options)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    status, reason, taken = _answer(tmp_path, monkeypatch, large=True, where="id < 10")
    assert status
    assert "CRC" in reason or "checksum" in reason
    assert taken == []


def test_relations_cut_a_file_by_row_groups_and_leave_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_RELATION_BYTES", 0)
    table = _readings().select(["id", "value"])
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=500)
    parquet = source("parquet", str(tmp_path / "in.parquet"))
    request = ReadRequest(table.schema, ("id", "value"), batch_bytes=4_000)
    (split,) = parquet.splits(request)
    relations = parquet.relations(split, request)
    assert len(relations) > 1
    assert [relation.rows for relation in relations] == [
        sum(block.batch.num_rows for block in parquet.read(relation.split, request)) for relation in relations
    ]
    assert sum(relation.rows for relation in relations) == _ROWS


def test_a_file_whose_name_is_a_pattern_is_read_as_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_RELATION_BYTES", 0)
    table = _readings().select(["id"])
    pq.write_table(table, tmp_path / "in[1].parquet")
    parquet = source("parquet", str(tmp_path / "in[[]1].parquet"))
    request = ReadRequest(table.schema, ("id",))
    (split,) = parquet.splits(request)
    assert not parquet.relations(split, request)
