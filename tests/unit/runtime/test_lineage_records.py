"""Runs leave their lineage in the store, and it comes back as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from beam_datahub.cli import main
from beam_datahub.compiler.build import build
from beam_datahub.lineage.tracing import lineage_of
from beam_datahub.runtime.lineage_records import stored_lineage
from beam_datahub.spec import load
from beam_datahub.store.location import locate

SPEC = """\
name: shop
source: {name: orders, connector: csv, connection: {path: orders.csv}}
transformations:
  - {id: paid, type: filtering, config: {where: status = 'paid'}}
  - {id: priced, type: mapping, config: {fields: {id: id, gross: amount * 2}}}
destination: {id: out, connector: jsonl, connection: {path: out.jsonl}, write_mode: overwrite}
"""


def test_what_a_run_leaves_is_the_lineage_of_its_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BEAM_DATAHUB_NO_RECORD", raising=False)
    Path("shop.yaml").write_text(SPEC)
    Path("orders.csv").write_text("id,status,amount\n1,paid,2\n")
    ran = CliRunner().invoke(main, ["run", "shop.yaml", "-q", "--store", "store.db"])
    assert ran.exit_code == 0, ran.output
    stored = stored_lineage(locate("store.db"))
    (found,) = stored.lineages
    expected = lineage_of(build(load("shop.yaml")))
    assert (found.columns, found.rows) == (expected.columns, expected.rows)
    assert found.sources == expected.sources
    assert found.destinations["out"] == expected.destinations["out"]
    assert [spec.integration for spec in stored.specs] == ["shop"]
    walked = CliRunner().invoke(main, ["lineage", "upstream", "out.gross", "--store", "store.db"])
    assert "orders.csv#amount" in walked.output
    broken = CliRunner().invoke(main, ["lineage", "impact", "orders.amount", "--store", "store.db"])
    assert broken.exit_code == 1
    assert "unknown column 'amount'" in broken.output
