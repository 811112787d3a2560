from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_datahub.errors import InvalidValue, UnknownName
from beam_datahub.spec import load, pin

COLUMNS = {"id": "bigint", "amount": "decimal(12,2)", "on": "boolean", "größe in cm": "double"}
BLOCK = """\
# where orders come from
name:   shop   # odd   spacing
sources:
  orders:
      # the connector
      connector: csv      # commas
      connection: {path:   "in.csv"}

      # the end of the source
  customers: {connector: csv , header: yes}  # inline
destination:
    connector: parquet
    input: orders
"""


def pinned(tmp_path: Path, text: str, source: str, name: str = "a.yaml", columns: dict[str, str] = COLUMNS) -> str:
    path = tmp_path / name
    path.write_bytes(text.encode())
    pin(path, source, columns)
    found = load(path, environment={}).integration.sources[source].columns
    assert found == columns
    assert list(found or {}) == list(columns)
    return path.read_bytes().decode()


def test_the_schema_is_added_and_nothing_else_changes(tmp_path: Path) -> None:
    text = pinned(tmp_path, BLOCK, "orders")
    added = [
        "      schema:",
        "        id: bigint",
        '        amount: "decimal(12,2)"',
        '        "on": boolean',
        '        "größe in cm": double',
    ]
    lines = BLOCK.splitlines()
    assert text.splitlines() == [*lines[:6], *added, *lines[6:]]


def test_a_source_in_one_line_stays_in_one_line(tmp_path: Path) -> None:
    text = pinned(tmp_path, BLOCK, "customers")
    assert (
        '  customers: {connector: csv , header: yes, schema: {id: bigint, amount: "decimal(12,2)", "on": boolean,'
        ' "größe in cm": double}}  # inline\n'
    ) in text
    assert len(text.splitlines()) == len(BLOCK.splitlines())


@pytest.mark.parametrize("source", ["orders", "customers"])
def test_a_schema_that_is_there_is_replaced(tmp_path: Path, source: str) -> None:
    once = pinned(tmp_path, BLOCK, source, columns={"old": "date", "older": "date"})
    assert pinned(tmp_path, once, source) == pinned(tmp_path, BLOCK, source)


def test_an_inline_schema_in_a_block_is_replaced(tmp_path: Path) -> None:
    text = BLOCK.replace("      connection:", "      schema: {a: int}   # guessed\n      connection:")
    assert "# guessed\n      connection" in pinned(tmp_path, text, "orders")


def test_the_only_source_line_ends_and_marks_are_kept(tmp_path: Path) -> None:
    text = "\ufeff" + "name: x\nsource:\n  id: orders\n  connector: csv\ndestination: {connector: csv}\n".replace("\n", "\r\n")
    found = pinned(tmp_path, text, "orders")
    assert found.startswith("\ufeffname")
    assert found.count("\n") == found.count("\r\n") == 10


def test_a_source_at_the_end_of_a_file_without_a_line_break(tmp_path: Path) -> None:
    pinned(tmp_path, "name: x\ndestination: {connector: csv}\nsource:\n  connector: csv", "source")


def test_json_stays_json(tmp_path: Path) -> None:
    text = '{\n\t"name": "x",\n\t"source": {"connector": "csv", "header": false},\n\t"destination": {"connector": "csv"}\n}\n'
    found = pinned(tmp_path, text, "source", "a.json")
    assert json.loads(found)["source"]["schema"] == COLUMNS
    assert found.replace(f', "schema": {json.dumps(COLUMNS, ensure_ascii=False)}', "") == text


def test_the_rights_of_the_file_are_kept_and_nothing_is_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(BLOCK)
    path.chmod(0o640)
    pin(path, "orders", COLUMNS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["a.yaml"]


def test_a_source_that_comes_from_an_anchor_is_left_alone(tmp_path: Path) -> None:
    text = "name: x\nsources:\n  a: &a {connector: csv}\n  b: *a\ndestination: {connector: csv, input: a}\n"
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(InvalidValue) as caught:
        pin(path, "b", {"id": "bigint"})
    assert "schema: {id: bigint}" in (caught.value.hint or "")
    assert path.read_text() == text


def test_a_source_that_merges_gets_its_own_schema(tmp_path: Path) -> None:
    pinned(
        tmp_path,
        "name: x\nsources:\n  a: &a {connector: csv}\n  b:\n    <<: *a\n    x: 1\ndestination: {connector: csv, input: a}\n",
        "b",
    )


def test_an_unknown_source_gets_a_guess(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(BLOCK)
    with pytest.raises(UnknownName) as caught:
        pin(path, "order", COLUMNS)
    assert caught.value.hint == "did you mean 'orders'?"


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.sampled_from(["bigint", "decimal(12,2)", "varchar[]"]), min_size=1))
def test_any_column_name_can_be_pinned(tmp_path_factory: pytest.TempPathFactory, columns: dict[str, str]) -> None:
    for source in ("orders", "customers"):
        pinned(tmp_path_factory.mktemp("pin"), BLOCK, source, columns=columns)
    text = '{"name": "x", "source": {"connector": "csv"}, "destination": {"connector": "csv"}}'
    pinned(tmp_path_factory.mktemp("pin"), text, "source", "a.json", columns=columns)
