"""Columns that a source declares and its data lacks are told of before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.cli.specs import planned
from beam_datahub.compiler.plan import Plan
from beam_datahub.component.source import Contract, Drift
from beam_datahub.errors import DataHubError, SchemaDrift
from beam_datahub.spec import load
from beam_datahub.testing.connectors import read, sink, source, write

ROWS = pa.table({"id": [1, 2], "amount": [2.5, 3.0]})
FORMATS = ("csv", "jsonl", "json", "parquet", "avro", "orc")


def data(folder: Path, form: str) -> str:
    path = folder / f"orders.{form}"
    if form == "orc":
        import pyarrow.orc as po

        po.write_table(ROWS, str(path))
    else:
        write(sink(form, str(path)), ROWS, mode="overwrite")
    return str(path)


def plan(folder: Path, form: str, path: str, columns: str = "evolve", **schema: str) -> Plan:
    orders: dict[str, Any] = {"connector": form, "connection": {"path": path}, "contract": {"columns": columns}, "schema": schema}
    spec = {"name": "x", "source": orders, "destination": {"connector": "console"}}
    (folder / "x.json").write_text(json.dumps(spec, indent=1))
    return planned(load(folder / "x.json"))


@pytest.mark.parametrize("form", FORMATS)
def test_a_misspelt_declared_column_is_warned_of_with_its_place_and_refused_where_frozen(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data(tmp_path, form)
    assert plan(tmp_path, form, path, columns="freeze", id="bigint", amount="double").warnings == ()
    (warning,) = plan(tmp_path, form, path, id="bigint", amout="double").warnings
    assert "x.json:13 (source.schema.amout): the data of 'source' has no column 'amout'" in warning
    assert "did you mean 'amount'?" in warning
    assert warning in capsys.readouterr().err
    with pytest.raises(DataHubError, match="has no column 'amout'") as caught:
        plan(tmp_path, form, path, columns="freeze", id="bigint", amout="double")
    assert (caught.value.code, caught.value.place and caught.value.place.line) == (SchemaDrift.code, 13)


def test_a_key_that_only_some_records_have_is_not_missing(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": 1}\n{"id": 2, "note": "late"}\n')
    assert plan(tmp_path, "jsonl", str(path), columns="freeze", id="bigint", note="varchar").warnings == ()


def test_a_key_that_may_lie_behind_what_was_looked_at_is_warned_of_and_never_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    filler = json.dumps({"id": 1, "text": "x" * 10_000}) + "\n"
    path.write_text(filler * 800 + '{"id": 2, "note": "late"}\n')
    (warning,) = plan(tmp_path, "jsonl", str(path), columns="freeze", id="bigint", text="varchar", note="varchar").warnings
    assert "as far as was looked" in warning


def test_names_of_delimited_text_are_found_whatever_their_case_and_partitions_count(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "country=de"
    folder.mkdir(parents=True)
    (folder / "x.csv").write_text("ID,Amount\n1,2\n")
    given = str(tmp_path / "in")
    assert plan(tmp_path, "csv", given, columns="freeze", id="bigint", amount="bigint", country="varchar").warnings == ()


@pytest.mark.parametrize("form", ["csv", "parquet", "avro", "orc"])
def test_a_frozen_contract_refuses_a_later_file_without_a_declared_column(form: str, tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.int64()), ("amout", pa.float64())])
    found = source(form, data(tmp_path, form))
    assert read(found, schema, declared=True).table.column("amout").null_count == 2
    with pytest.raises(SchemaDrift, match="lacks a column that the schema has: amout"):
        read(found, schema, declared=True, contract=Contract(columns=Drift.FREEZE))


@pytest.mark.parametrize("schema", [{}, {"id": "bigint", "name": "varchar"}])
def test_a_title_above_the_header_is_warned_of_with_the_option_that_skips_it(schema: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("Sales of 2024\nid,name\n1,a\n2,b\n")
    spec = {
        "name": "x",
        "source": {"connector": "csv", "connection": {"path": str(path)}},
        "destination": {"connector": "console"},
    }
    if schema:
        spec["source"]["schema"] = schema  # type: ignore[index]
    (tmp_path / "x.json").write_text(json.dumps(spec, indent=1))
    (warning,) = planned(load(tmp_path / "x.json")).warnings
    assert warning.startswith(f"{tmp_path / 'x.json'}:3 (source): the first line looks like what stands before the header")
    assert warning.endswith("set `skip_rows: 1`")


def test_the_warning_comes_before_the_errors_that_it_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text("4\nid,name\n1,a\n2,b\n")
    step = {"id": "some", "type": "filtering", "config": {"where": "name = 'a'"}}
    spec = {"name": "x", "source": {"connector": "csv", "connection": {"path": "x.csv"}}, "transformations": [step]}
    (tmp_path / "x.json").write_text(json.dumps({**spec, "destination": {"connector": "console"}}))
    with pytest.raises(DataHubError, match="name"):
        planned(load(tmp_path / "x.json"))
    assert "set `skip_rows: 1`" in capsys.readouterr().err
