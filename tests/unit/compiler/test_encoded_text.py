"""Text that a Parquet file stores with dictionaries reads as any other text does, also where a step refuses a record."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner

from beam_datahub.cli import main

SPEC = """
name: codes
source: {connector: parquet, connection: {path: in.parquet}}
transformations:
  - id: read
    type: mapping
    config: {fields: {id: id, code: cast(code as integer), country: upper(country)}}
destination: {connector: jsonl, connection: {path: out.jsonl}, write_mode: overwrite}
dead_letter: {connector: jsonl, connection: {path: rejected.jsonl}}
"""


def test_a_code_that_is_no_number_rejects_its_record_and_no_other(tmp_path: Path) -> None:
    codes = ["1", "2", None, "x", "1", "2"] * 200
    table = pa.table({"id": range(1200), "code": codes, "country": ["de", None, "fr"] * 400})
    pq.write_table(table, tmp_path / "in.parquet", use_dictionary=["code", "country"], row_group_size=500)
    (tmp_path / "spec.yaml").write_text(SPEC)
    found = CliRunner().invoke(main, ["run", str(tmp_path / "spec.yaml"), "--json"])
    assert found.exit_code == 0, found.output
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    refused = [json.loads(line) for line in (tmp_path / "rejected.jsonl").read_text().splitlines()]
    wanted = [
        {"id": i, "code": None if code is None else int(code), "country": ["DE", None, "FR"][i % 3]}
        for i, code in enumerate(codes)
        if code != "x"
    ]
    assert rows == wanted
    assert [json.loads(one["original"]) for one in refused][:2] == [
        {"id": 3, "code": "x", "country": "de"},
        {"id": 9, "code": "x", "country": "de"},
    ]
    assert len(refused) == 200
