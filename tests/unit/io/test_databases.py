"""What a user can rely on with every database."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Receipt
from beam_datahub.component.source import Since
from beam_datahub.errors import DataHubError, InvalidValue, LossyWrite, SchemaDrift, SourceMissing, TargetUnusable
from beam_datahub.kernels.session import KernelSession
from beam_datahub.testing.connectors import read, stage
from tests.unit.io.database_systems import SYSTEMS, System, made

VALUES = {
    "BOOLEAN": "true",
    "TINYINT": "-3",
    "SMALLINT": "-7",
    "INTEGER": "-5",
    "BIGINT": "9223372036854775807",
    "UTINYINT": "200",
    "USMALLINT": "60000",
    "UINTEGER": "4000000000",
    "UBIGINT": "18446744073709551615",
    "FLOAT": "1.1",
    "DOUBLE": "0.1",
    "DECIMAL(12,2)": "-1234567890.07",
    "DECIMAL(18,4)": "-12345678901234.5678",
    "DECIMAL(38,10)": "1234567890123456789012345678.0123456789",
    "VARCHAR": "'a\"b,''ü\n\t\\N %s :x'",
    "BLOB": "'\\x00\\xff'::blob",
    "DATE": "date '2024-02-29'",
    "TIME": "time '23:59:59.999999'",
    "TIMESTAMP": "timestamp '2024-01-02 03:04:05.678901'",
    "TIMESTAMPTZ": "timestamptz '2024-01-02 03:04:05.678901+02'",
    "INTERVAL": "interval '1 year 2 days 3.5 seconds'",
    "JSON": """json '{"a": [1, null]}'""",
    "VARCHAR[]": "['a', null, '', ' \"x\\', 'NULL']",
    "BIGINT[]": "[1, null]",
    "STRUCT(a BIGINT, b VARCHAR)": "{'a': 1, 'b': 'x'}",
    "STRUCT(a BIGINT)[]": "[{'a': 1}]",
    "MAP(VARCHAR, BIGINT)": "MAP {'a': 1}",
}
KEPT = [(name, each) for name in SYSTEMS for each in component("sink", name.split()[0]).capabilities.types]  # type: ignore[attr-defined]
NUMBERED = pa.schema([("id", pa.int64()), ("text", pa.string())])


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """An empty database."""
    yield made(request.param, tmp_path, request)
    close_pools()


def numbered(first: int, count: int = 5) -> pa.Table:
    return pa.table([range(first, first + count), [f"row {n}" for n in range(first, first + count)]], schema=NUMBERED)


def ids(system: System, table: str = "t") -> list[int]:
    return [row["id"] for row in sorted(system.rows(table), key=lambda row: row["id"])]


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_type_that_is_promised_comes_back_as_it_was_written(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    system = made(name, tmp_path, request)
    session = KernelSession()
    types = [each for system_name, each in KEPT if system_name == name]
    items = ", ".join(f"({VALUES[each]})::{each} AS c{number}" for number, each in enumerate(types))
    nulls = ", ".join("null" for _ in types)
    given = session.query(f"SELECT 1::BIGINT AS id, {items} UNION ALL SELECT 2, {nulls} ORDER BY 1")
    system.write(system.sink(table="t"), given)
    found = read(system.source(table="t"), given.schema)
    assert found.rejected == []
    for number, each in enumerate(types):
        assert found.table[f"c{number}"].equals(given[f"c{number}"]), each
    discovered = system.source(table="t").discover().schema
    if system.connector != "sql":
        assert discovered.equals(given.schema)


def test_empty_text_is_not_null(system: System) -> None:
    given = pa.table({"id": [1, 2], "text": ["", None]})
    system.write(system.sink(table="t"), given)
    assert system.rows("t") == given.to_pylist()


def test_appending_adds_and_a_repeated_run_does_not(system: System) -> None:
    system.write(system.sink(table="t"), numbered(0), run="run1")
    system.write(system.sink(table="t"), numbered(5), run="run2")
    assert ids(system) == list(range(10))
    done = system.write(system.sink(table="t"), numbered(5), run="run2")
    assert done.rows == 5
    assert ids(system) == list(range(10))
    assert system.staging() == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", ["append", "overwrite", "merge"])
def test_bundles_that_fail_and_are_retried_at_random_change_nothing(system: System, mode: str, seed: int) -> None:
    draw = random.Random(seed)
    sink = system.sink(table="t")
    request = system.request(NUMBERED, mode=mode, key=("id",) if mode == "merge" else ())
    sink.prepare(request)
    receipts: list[Receipt] = []
    for bundle in range(4):
        for fate in draw.choices(["discarded", "lost"], k=draw.randint(0, 2)):
            writer = sink.open(request)
            for batch in numbered(bundle * 5).to_batches(max_chunksize=2)[: draw.randint(0, 3)]:
                assert writer.write(batch) is None
            if fate == "discarded":
                writer.discard()
            else:  # the worker died after it staged: the engine runs the bundle again
                writer.close()
        receipts += stage(sink, request, [numbered(bundle * 5)])
    for _ in range(draw.randint(1, 3)):
        assert sink.commit(request, receipts).rows == 20
    assert ids(system) == list(range(20))
    assert system.staging() == []


def test_overwriting_replaces_and_nothing_empties(system: System) -> None:
    system.write(system.sink(table="t"), numbered(0), run="run1", mode="overwrite")
    system.write(system.sink(table="t"), numbered(3), numbered(8, 1), run="run2", mode="overwrite")
    assert ids(system) == [3, 4, 5, 6, 7, 8]
    system.write(system.sink(table="t"), run="run3", mode="overwrite", schema=NUMBERED)
    assert ids(system) == []


def test_an_aborted_run_leaves_what_was_there_and_nothing_else(system: System) -> None:
    system.write(system.sink(table="t"), numbered(0))
    sink, request = system.sink(table="t"), system.request(NUMBERED, run="run2", mode="overwrite")
    sink.prepare(request)
    stage(sink, request, [numbered(5)])
    sink.abort(request)
    assert ids(system) == list(range(5))
    assert system.staging() == []


@pytest.mark.parametrize("unique", [True, False], ids=["unique key", "no unique key"])
def test_merging_changes_adds_and_removes_by_key(system: System, unique: bool) -> None:
    system.run(f"create table t (id bigint {'primary key' if unique else ''}, text varchar(20), moment bigint)")
    system.run("insert into t values (1, 'one', 1), (2, 'two', 1), (3, 'three', 1)")
    sink = system.sink(table="t", last_by="moment", delete_marker="gone")
    given = pa.table(
        {
            "id": [1, 1, 2, 4, 5],
            "text": ["newest", "older", "x", "four", "y"],
            "moment": [9, 5, 9, 9, 9],
            "gone": [False, True, True, None, True],
        }
    )
    system.write(sink, given, mode="merge", key=["id"])
    expected = [(1, "newest", 9), (3, "three", 1), (4, "four", 9)]
    assert [tuple(row.values()) for row in system.rows("t")] == expected
    assert system.staging() == []


def test_merging_keeps_columns_that_are_not_written(system: System) -> None:
    system.run("create table t (id bigint primary key, text varchar(20), other bigint)", "insert into t values (1, 'one', 7)")
    sink, request = system.sink(table="t"), system.request(NUMBERED, mode="merge", key=["id"])
    if system.connector == "sql":
        with pytest.raises(TargetUnusable, match="'other'"):
            sink.prepare(request)
        return
    system.write(sink, numbered(1, 1), mode="merge", key=["id"])
    assert system.rows("t") == [{"id": 1, "text": "row 1", "other": 7}]


def test_a_key_twice_is_refused_unless_it_is_said_which_row_wins(system: System) -> None:
    given = pa.table({"id": [1, 1], "text": ["a", "b"]})
    with pytest.raises(TargetUnusable, match="the same key"):
        system.write(system.sink(table="t"), given, mode="merge", key=["id"])
    if system.connector == "mysql":
        # There, making a table cannot be taken back.
        assert system.rows("t") == []
        return
    with pytest.raises(SourceMissing):
        read(system.source(table="t"))


def test_a_row_without_a_key_is_refused_by_itself(system: System) -> None:
    sink, request = system.sink(table="t"), system.request(NUMBERED, mode="merge", key=["id"])
    sink.prepare(request)
    writer = sink.open(request)
    refused = writer.write(pa.table({"id": [1, None, 3], "text": ["a", "b", "c"]}, schema=NUMBERED).to_batches()[0])
    assert refused is not None
    assert refused.to_pylist() == [{"row": 1, "reason": "refused", "message": "the key column 'id' is null", "column": "id"}]
    assert sink.commit(request, writer.close()).rows == 2
    assert ids(system) == [1, 3]


def test_rows_that_the_database_refuses_are_found_singly(system: System) -> None:
    system.run("create table t (id bigint not null, text varchar(40) check (text <> 'bad'))")
    sink, request = system.sink(table="t"), system.request(NUMBERED)
    sink.prepare(request)
    writer = sink.open(request)
    texts = ["bad" if n in (3, 60) and system.connector != "sql" else f"row {n}" for n in range(100)]
    batch = pa.table({"id": [None if n == 77 else n for n in range(100)], "text": texts}, schema=NUMBERED).to_batches()[0]
    refused = writer.write(batch)
    assert refused is not None
    wanted = [77] if system.connector == "sql" else [3, 60, 77]
    assert refused["row"].to_pylist() == wanted
    assert all(refused["message"].to_pylist())
    assert sink.commit(request, writer.close()).rows == 100 - len(wanted)
    assert ids(system) == [n for n in range(100) if n not in wanted]


def test_a_table_gets_new_columns_and_loses_no_data(system: System) -> None:
    system.run("create table t (id bigint, amount decimal(10,2))", "insert into t values (1, 1.25)")
    given = pa.table({"ID": [2], "note": ["new"]})
    system.write(system.sink(table="t"), given)
    found = sorted(system.rows("t"), key=lambda row: row["id"])
    assert [row["note"] for row in found] == [None, "new"]
    with pytest.raises(TargetUnusable, match="no column 'more'"):
        system.write(system.sink(table="t", evolve="none"), pa.table({"id": [3], "more": ["x"]}), run="run2")
    finer = pa.table({"id": [3], "amount": pa.array(["1.125"]).cast(pa.decimal128(12, 3))})
    with pytest.raises(LossyWrite, match="'amount'"):
        system.write(system.sink(table="t"), finer, run="run3")
    with pytest.raises(LossyWrite, match="'amount'"):
        system.write(system.sink(table="t"), pa.table({"id": [3], "amount": [1.125]}), run="run4")


def test_what_the_table_needs_and_is_not_written_is_found_before_anything_runs(system: System) -> None:
    system.run("create table t (id bigint, text varchar(9), needed bigint not null, filled bigint not null default 7)")
    with pytest.raises(TargetUnusable, match="'needed'"):
        system.sink(table="t").prepare(system.request(NUMBERED))


def test_options_that_make_no_sense_are_refused_at_validate(system: System) -> None:
    with pytest.raises(InvalidValue, match="merge"):
        system.sink(table="t").plan_write(system.request(NUMBERED, mode="merge"))
    with pytest.raises(InvalidValue, match="last_by"):
        system.sink(table="t", last_by="id").plan_write(system.request(NUMBERED))
    with pytest.raises(InvalidValue, match="BOOLEAN"):
        system.sink(table="t", delete_marker="text").plan_write(system.request(NUMBERED, mode="merge", key=["id"]))
    with pytest.raises(InvalidValue, match="names no table"):
        system.sink(table="a..b").plan_write(system.request(NUMBERED))


def test_only_the_columns_and_rows_that_are_needed_are_read(system: System) -> None:
    system.write(system.sink(table="t"), numbered(0, 100))
    source = system.source(table="t", where="id >= 90")
    assert read(source, NUMBERED, columns=["text"]).table.num_columns == 1
    assert sorted(read(source, NUMBERED).table["id"].to_pylist()) == list(range(90, 100))
    assert read(source, NUMBERED, limit=3).table.num_rows == 3
    query = system.source(query="select id + 1 as more, text from t where id < 5;")
    assert sorted(read(query, columns=["more"]).table["more"].to_pylist()) == [1, 2, 3, 4, 5]
    since = Since("id", pa.int64(), floor="95", until="98", nulls=False)
    assert sorted(read(system.source(table="t"), NUMBERED, since=since).table["id"].to_pylist()) == [95, 96, 97]
    assert read(system.source(table="t"), NUMBERED, columns=[]).table.num_rows == 100


def test_ranges_of_the_key_give_each_row_once(system: System) -> None:
    system.write(system.sink(table="t"), numbered(0, 1000))
    system.run("insert into t values (null, 'without a key')")
    source = system.source(table="t", split_by="id")
    found = read(source, NUMBERED, split_bytes=1000)
    assert sorted(found.table["id"].to_pylist(), key=lambda n: -1 if n is None else n) == [None, *range(1000)]


def test_what_is_not_there_is_named(system: System) -> None:
    system.write(system.sink(table="t"), numbered(0))
    with pytest.raises(SourceMissing, match="nope"):
        system.source(table="nope").discover()
    with pytest.raises(DataHubError):
        system.source(query="selec 1").discover()
    with pytest.raises(SchemaDrift, match="'missing'"):
        read(system.source(table="t"), pa.schema([("id", pa.int64()), ("missing", pa.string())]))


def test_a_check_says_what_works(system: System) -> None:
    system.write(system.sink(table="t"), numbered(0))
    assert system.source(table="t").check().fine
    assert system.sink(table="t").check().fine
    assert system.staging() == []
    report = system.source(table="nope").check()
    assert not report.fine
    assert report.lines[0][1], "it was reached"


def test_the_staging_of_dead_runs_is_swept(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    dead, request = system.sink(table="t"), system.request(NUMBERED, run="dead")
    with monkeypatch.context() as patch:
        patch.setattr("beam_datahub.component.database_ledger.owner", lambda: _owner(pid=2**22 + 1))
        dead.prepare(request)
    receipts = stage(dead, request, [numbered(0)])
    alive, other = system.sink(table="t"), system.request(NUMBERED, run="alive")
    alive.prepare(other)
    kept = stage(alive, other, [numbered(5)])
    system.write(system.sink(table="t"), numbered(10), run="next")
    assert len(system.staging()) == 1
    with pytest.raises(TargetUnusable, match="swept"):
        dead.commit(request, receipts)
    alive.commit(other, kept)
    assert ids(system) == list(range(5, 15))


def _owner(**facts: Any) -> dict[str, Any]:
    from beam_datahub.component.file_owner import owner

    return {**owner(), **facts}


def test_a_connector_pickles_and_names_its_table(system: System) -> None:
    sink = pickle.loads(pickle.dumps(system.sink(table="t")))
    system.write(sink, numbered(0))
    source = pickle.loads(pickle.dumps(system.source(table="t")))
    assert read(source).table.num_rows == 5
    assert source.datasets() == sink.datasets()
    assert source.datasets()[0].name.endswith("t")
