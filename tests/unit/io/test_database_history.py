"""Tables that keep a history say what a plain loop over the changes says, however these come."""

from __future__ import annotations

import datetime
import itertools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beam_datahub.component import database_history
from beam_datahub.component.database_pool import close_pools
from beam_datahub.errors import DataHubError, InvalidValue, TargetUnusable, UnknownColumn
from beam_datahub.testing.connectors import read, stage
from tests.unit.io.database_systems import SYSTEMS, System, made

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("city", pa.string()),
        ("size", pa.int64()),
        ("note", pa.string()),
        ("seq", pa.int64()),
        ("at", pa.timestamp("us")),
        ("gone", pa.bool_()),
    ]
)
EXAMPLES = {"sqlite": 20, "duckdb": 4, "postgresql": 4, "mysql": 2, "sql on sqlite": 3, "sql on postgresql": 2}
HISTORY = {"effective_at": "at", "delete_marker": "gone", "last_by": "seq"}
_numbers = itertools.count()


class Change(NamedTuple):
    """A row of SCHEMA."""

    id: int
    city: str | None
    size: int | None
    note: str
    seq: int
    at: int
    gone: bool | None


CHANGE = st.builds(
    Change,
    st.integers(1, 3),
    st.sampled_from(["Ulm", "ulm", None, "Bonn"]),
    st.sampled_from([1, 2, None]),
    st.sampled_from(["n", "m"]),
    st.just(0),
    st.integers(1, 9),
    st.sampled_from([False, False, False, None, True]),
)
# Runs of bundles of changes.
RUNS = st.lists(st.lists(st.lists(CHANGE, min_size=1, max_size=5), min_size=1, max_size=2), min_size=1, max_size=5)


def moment(day: int | None) -> datetime.datetime | None:
    """A day of January, at a time with a fraction on some of them."""
    return None if day is None else datetime.datetime(2025, 1, day, 12, 0, 0, 500_000 if day % 2 else 0)


def table_of(changes: Sequence[Change]) -> pa.Table:
    """The changes as they are written."""
    rows = [each._replace(at=moment(each.at)) for each in changes]  # type: ignore[arg-type]
    return pa.table([pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)], SCHEMA)


def numbered(runs: Sequence[Sequence[Sequence[Change]]]) -> list[list[list[Change]]]:
    """The changes with numbers that tell which came last."""
    seq = itertools.count(1)
    return [[[change._replace(seq=next(seq)) for change in bundle] for bundle in run] for run in runs]


def write(system: System, runs: Sequence[Sequence[Sequence[Change]]], mode: str, **options: Any) -> str:
    """A table to which each run was written."""
    table = f"history_{next(_numbers)}"
    for number, run in enumerate(runs):
        sink = system.sink(table=table, **options)
        system.write(sink, *map(table_of, run), run=f"{table}-{number}", mode=mode, key=["id"])
    return table


def versions(runs: Sequence[Sequence[Sequence[Change]]], track: Sequence[str]) -> list[tuple[Any, ...]]:
    """The rows that scd2 is to make, change by change."""
    points: dict[int, dict[int, Change]] = {}
    for run in runs:
        for change in sorted(itertools.chain(*run), key=lambda each: each.seq):
            points.setdefault(change.id, {})[change.at] = change
        for key, found in points.items():
            kept: dict[int, Change] = {}
            last: int | None = None
            for at in sorted(found):
                change = found[at]
                if last is not None and is_same(kept[last], change, track):
                    kept[last] = kept[last]._replace(note=change.note, seq=change.seq, city=change.city, size=change.size)
                else:
                    kept[at], last = change, at
            points[key] = kept
    rows: list[tuple[Any, ...]] = []
    for found in points.values():
        order = sorted(found)
        for at, then in itertools.zip_longest(order, order[1:]):
            change = found[at]
            value = (change.id, change.city, change.size, change.note, change.seq)
            if not change.gone:
                rows.append((*value, moment(at), moment(then), then is None))
            elif at == order[0]:
                rows.append((*value, moment(at), moment(at), False))
    return sorted(rows, key=str)


def is_same(before: Change, after: Change, track: Sequence[str]) -> bool:
    """Whether nothing that counts has changed."""
    if bool(before.gone) != bool(after.gone):
        return False
    return bool(after.gone) or all(getattr(before, name) == getattr(after, name) for name in track)


def newest(runs: Sequence[Sequence[Sequence[Change]]], track: Sequence[str]) -> list[tuple[Any, ...]]:
    """The rows that scd1 and scd3 are to make, change by change."""
    rows: dict[int, tuple[Change, dict[str, Any]]] = {}
    for run in runs:
        for change in sorted(itertools.chain(*run), key=lambda each: (each.at, each.seq)):
            before, previous = rows.get(change.id, (None, dict.fromkeys(track)))
            if before is not None and change.at < before.at:
                continue
            changed = {n: getattr(before, n) for n in track if before is not None and getattr(before, n) != getattr(change, n)}
            rows[change.id] = (change, {**previous, **changed})
    found = [(*change[:5], moment(change.at), change.gone, *previous.values()) for change, previous in rows.values()]
    return sorted(found, key=str)


def rows_of(system: System, table: str) -> list[tuple[Any, ...]]:
    """What is in a table."""
    return sorted((tuple(row.values()) for row in read(system.source(table=table)).rows), key=str)


@pytest.fixture(params=SYSTEMS, scope="module")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A database, for all examples; `examples` says how many are tried on it."""
    found = made(request.param, tmp_path_factory.mktemp("history"), request)
    found.examples = EXAMPLES[request.param]  # type: ignore[attr-defined]
    yield found
    close_pools()


def each_history(system: System, look: Any) -> None:
    """Try `look` with as many histories as the system is quick enough for."""
    phases = [Phase.explicit, Phase.generate, *([Phase.shrink] if system.connector == "sqlite" else [])]
    checked = settings(
        max_examples=system.examples,  # type: ignore[attr-defined]
        phases=phases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    checked(given(runs=RUNS)(look))()


def test_scd2_keeps_the_versions_that_the_changes_make_also_late_repeated_and_deleted_ones(system: System) -> None:
    def look(runs: list[list[list[Change]]]) -> None:
        runs = numbered(runs)
        table = write(system, runs, "scd2", track=["city", "size"], **HISTORY)
        assert rows_of(system, table) == versions(runs, ["city", "size"])

    each_history(system, look)
    assert system.staging() == []


def test_scd1_keeps_the_newest_state_and_scd3_previous_values_in_whatever_order_changes_come(system: System) -> None:
    def look(runs: list[list[list[Change]]]) -> None:
        runs = numbered(runs)
        assert rows_of(system, write(system, runs, "scd1", **HISTORY)) == newest(runs, [])
        kept = write(system, runs, "scd3", track=["city", "size"], **HISTORY)
        assert rows_of(system, kept) == newest(runs, ["city", "size"])

    each_history(system, look)
    assert system.staging() == []


@settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_changes_that_each_change_something_make_the_same_versions_in_any_order(data: st.DataObject, tmp_path: Path) -> None:
    system = System("sqlite", {"path": str(tmp_path / "data.db")})
    changes = []
    for key in (1, 2):
        last = data.draw(st.integers(1, 9))
        ends = data.draw(st.booleans())
        changes += [Change(key, f"at {at}", None, "n", at, at, ends and at == last) for at in range(1, last + 1)]
    again = data.draw(st.lists(st.sampled_from(changes), max_size=4))
    mixed = data.draw(st.permutations([*changes, *again]))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(mixed)), max_size=4)))
    runs = [[mixed[low:high]] for low, high in itertools.pairwise([0, *cuts, len(mixed)]) if low < high]
    table = write(system, runs, "scd2", **HISTORY)
    assert rows_of(system, table) == versions([[changes]], ["city"])


def change(key: int, city: str, at: int, *, gone: bool = False, seq: int = 0) -> Change:
    """A change of which nothing else matters."""
    return Change(key, city, None, "n", seq, at, gone)


def test_versions_that_do_not_change_are_left_alone_with_what_others_keep_beside_them(system: System) -> None:
    if system.connector == "sql":
        return
    options = {"effective_at": "at", "delete_marker": "gone"}
    table = write(system, [[[change(1, "Ulm", 1), change(1, "Bonn", 5)]]], "scd2", **options)
    system.run(f"alter table {table} add column mine varchar(20)", f"update {table} set mine = city")
    sink = system.sink(table=table, **options)
    system.write(sink, table_of([change(1, "Kiel", 3)]), run=f"{table}-late", mode="scd2", key=["id"])
    found = {row["city"]: row["mine"] for row in system.rows(table)}
    assert found == {"Ulm": "Ulm", "Kiel": None, "Bonn": "Bonn"}


def test_a_commit_that_is_repeated_adds_no_version(system: System) -> None:
    table, options = f"history_{next(_numbers)}", {"effective_at": "at", "delete_marker": "gone"}
    sink = system.sink(table=table, **options)
    request = system.request(SCHEMA, run=table, mode="scd2", key=["id"])
    sink.prepare(request)
    receipts = stage(sink, request, [table_of([change(1, "Ulm", 1)]), table_of([change(1, "Bonn", 2)])])
    assert [sink.commit(request, receipts).rows for _ in range(2)] == [2, 2]
    assert [row["is_current"] for row in system.rows(table)] == [True, False]


def test_runs_that_publish_at_once_go_on_from_what_the_other_has_done(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    if system.connector == "sql":
        return
    options = {"effective_at": "at", "delete_marker": "gone"}
    table = write(system, [[[change(1, "Ulm", 1)]]], "scd2", **options)
    days = range(2, 4)
    both, publish = threading.Barrier(len(days)), database_history._versions

    def together(*arguments: Any, **named: Any) -> None:
        # Where nothing keeps one of them out, both look at what is there before either changes it.
        with suppress(threading.BrokenBarrierError):
            both.wait(1)
        publish(*arguments, **named)

    monkeypatch.setattr(database_history, "_versions", together)

    def run(day: int) -> None:
        sink = system.sink(table=table, **options)
        system.write(sink, table_of([change(1, f"day {day}", day)]), run=f"{table}-{day}", mode="scd2", key=["id"])

    with ThreadPoolExecutor(len(days)) as pool:
        list(pool.map(run, days))
    rows = sorted(system.rows(table), key=lambda row: row["valid_from"])
    assert [row["city"] for row in rows] == ["Ulm", *(f"day {day}" for day in days)]
    assert [row["valid_to"] for row in rows] == [*(row["valid_from"] for row in rows[1:]), None]


def test_without_a_moment_of_its_own_a_change_takes_place_when_it_is_published(system: System) -> None:
    table = f"history_{next(_numbers)}"
    schema = pa.schema([("id", pa.int64()), ("city", pa.string())])
    began = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    for run, city in enumerate(("Ulm", "Ulm", "Bonn")):
        rows = pa.table({"id": [1, 2], "city": [city, "Kiel"]}, schema)
        system.write(system.sink(table=table), rows.slice(0, 1), rows.slice(1), run=f"{table}-{run}", mode="scd2", key=["id"])
    found = [(row["id"], row["city"], row["is_current"]) for row in system.rows(table)]
    assert sorted(found) == [(1, "Bonn", True), (1, "Ulm", False), (2, "Kiel", True)]
    first, second, _ = sorted(system.rows(table), key=lambda row: (row["id"], row["valid_from"]))
    assert began <= first["valid_from"] < first["valid_to"] == second["valid_from"]
    assert second["valid_to"] is None


def test_changes_that_contradict_each_other_fail_the_run_and_change_nothing(system: System) -> None:
    options = {"effective_at": "at", "delete_marker": "gone"}
    table = write(system, [[[change(1, "Ulm", 1)]]], "scd2", **options)
    before = system.rows(table)
    for mode in ("scd1", "scd2"):
        name = table if mode == "scd2" else f"history_{next(_numbers)}"
        with pytest.raises(TargetUnusable, match=r"2 of the changes of one key at one moment differ \(id 1, .*nothing says"):
            write_to(system, name, [change(1, "Bonn", 2), change(1, "Kiel", 2)], mode, **options)
    assert system.rows(table) == before
    # What is merely repeated contradicts nothing.
    write_to(system, table, [change(1, "Bonn", 2), change(1, "Bonn", 2)], "scd2", **options)
    assert len(system.rows(table)) == 2


def write_to(system: System, table: str, changes: Sequence[Change], mode: str, **options: Any) -> None:
    """Write changes to a table in two bundles."""
    rows = table_of(changes)
    sink = system.sink(table=table, **options)
    system.write(sink, rows.slice(0, 1), rows.slice(1), run=f"run-{next(_numbers)}", mode=mode, key=["id"])


def test_a_change_without_a_key_or_a_moment_is_refused_by_itself(system: System) -> None:
    sink = system.sink(table=f"history_{next(_numbers)}", effective_at="at", delete_marker="gone")
    request = system.request(SCHEMA, run=sink.options.table, mode="scd2", key=["id"])
    sink.prepare(request)
    writer = sink.open(request)
    rows = table_of([change(1, "Ulm", 1), change(2, "Bonn", 2)._replace(at=None), change(3, "Kiel", 3)._replace(id=None)])  # type: ignore[arg-type]
    refused = writer.write(rows.to_batches()[0])
    assert refused is not None
    assert refused.select(["row", "message", "column"]).to_pylist() == [
        {"row": 1, "message": "'at' is null, which says when the change took place", "column": "at"},
        {"row": 2, "message": "the key column 'id' is null", "column": "id"},
    ]
    assert sink.commit(request, list(writer.close())).rows == 1


def test_a_table_without_a_history_is_no_place_for_one(system: System) -> None:
    plain, single = f"history_{next(_numbers)}", f"history_{next(_numbers)}"
    moment = "datetime(6)" if system.connector == "mysql" else "timestamp"
    system.run(f"create table {plain} (id bigint, city varchar(20))")
    system.run(
        f"create table {single} (id bigint primary key, city varchar(20), valid_from {moment}, valid_to {moment}, "
        "is_current boolean)"
    )
    schema = pa.schema([("id", pa.int64()), ("city", pa.string())])
    request = system.request(schema, run=plain, mode="scd2", key=["id"])
    with pytest.raises(TargetUnusable, match=f"'{plain}' has no column 'valid_from': its rows have no history"):
        system.sink(table=plain).prepare(request)
    with pytest.raises(DataHubError, match=f"'{single}' holds one row for each id, and no versions"):
        system.sink(table=single).prepare(request)


def test_delete_insert_replaces_the_rows_of_the_keys_that_occur(system: System) -> None:
    table, before = f"history_{next(_numbers)}", system.staging()
    schema = pa.schema([("order", pa.int64()), ("line", pa.int64())])

    def lines(*pairs: tuple[int, int]) -> pa.Table:
        return pa.table([pa.array(each) for each in zip(*pairs, strict=True)], schema)

    for run, bundles in enumerate([[lines((1, 1), (1, 2)), lines((2, 1), (2, 2))], [lines((2, 7)), lines((2, 8), (3, 1))]]):
        system.write(system.sink(table=table), *bundles, run=f"{table}-{run}", mode="delete_insert", key=["order"])
    assert [tuple(row.values()) for row in system.rows(table)] == [(1, 1), (1, 2), (2, 7), (2, 8), (3, 1)]
    assert system.staging() == before


def test_delete_insert_replaces_the_rows_that_meet_a_condition_and_takes_no_others(system: System) -> None:
    table = f"history_{next(_numbers)}"
    schema = pa.schema([("day", pa.int64()), ("n", pa.int64())])
    system.write(system.sink(table=table), pa.table({"day": [1, 2, 2], "n": [1, 1, 2]}, schema), run=table)
    sink = system.sink(table=table, delete_where="day >= 2")
    system.write(sink, pa.table({"day": [2, 3], "n": [5, 5]}, schema), run=f"{table}-2", mode="delete_insert")
    assert [tuple(row.values()) for row in system.rows(table)] == [(1, 1), (2, 5), (3, 5)]
    with pytest.raises(TargetUnusable, match=r"1 of the rows for .* do not meet `delete_where`"):
        system.write(sink, pa.table({"day": [1, 3], "n": [6, 6]}, schema), run=f"{table}-3", mode="delete_insert")
    # A run without rows deletes as well.
    system.write(sink, run=f"{table}-4", mode="delete_insert", schema=schema)
    assert [tuple(row.values()) for row in system.rows(table)] == [(1, 1)]


@pytest.mark.parametrize(
    ("mode", "key", "options", "expected"),
    [
        ("scd2", [], {}, "write_mode scd2 needs the columns that identify a row"),
        ("scd1", ["id"], {}, "write_mode scd1 needs `effective_at`"),
        ("scd3", ["id"], {}, "write_mode scd3 needs the columns whose previous values are kept"),
        ("scd2", ["id"], {"effective_at": "city"}, "`effective_at` names 'city', which is VARCHAR and no moment"),
        ("scd2", ["id"], {"effective_at": "when"}, "unknown column 'when'"),
        ("scd2", ["id", "at"], {"effective_at": "at"}, "`effective_at` names 'at', which is part of the key"),
        ("scd2", ["id"], {"track": ["id"]}, "`track` names 'id', which is part of the key"),
        ("scd2", ["id"], {"valid_from": "city"}, "the table would have two columns 'city'"),
        ("scd2", ["id"], {"delete_marker": "city"}, "the delete marker 'city' is not BOOLEAN"),
        ("merge", ["id"], {"effective_at": "at"}, "`effective_at` is for write_mode scd1, scd2 and scd3, not for merge"),
        ("append", [], {"is_current": "now"}, "`is_current` is for write_mode scd2, not for append"),
        ("delete_insert", [], {}, "delete_insert needs a `key` or `delete_where`: what is to be deleted"),
        (
            "delete_insert",
            ["id"],
            {"delete_where": "id > 1"},
            "delete_insert needs a `key` or `delete_where`, not both",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    mode: str, key: list[str], options: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    sink = System("sqlite", {"path": str(tmp_path / "x")}).sink(table="t", **options)
    with pytest.raises((InvalidValue, UnknownColumn)) as error:
        sink.plan_write(System.request(SCHEMA, mode=mode, key=key))
    assert expected in str(error.value)
    assert error.value.hint or "part of the key" in expected
