"""Rows, rejects and books are the same however the input is cut, into however many shards rows go, and however rows meet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, TypeAlias

import pyarrow as pa
import pytest

from beam_datahub.compiler import passes
from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.passes import joins
from beam_datahub.runtime.collect import collect
from beam_datahub.runtime.engines import EngineOptions
from beam_datahub.runtime.launch import RunRequest
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import loads
from beam_datahub.testing.comparing import row_texts
from beam_datahub.testing.steps import as_table

Rows: TypeAlias = Sequence[Mapping[str, Any]] | pa.Table
Part: TypeAlias = tuple[str, str, str | list[str], dict[str, Any]]


@dataclass(frozen=True)
class Way:
    """A way to run a plan that must not matter."""

    slice_rows: int | None = None
    shards: int | None = None
    broadcast: bool = True
    without: tuple[str, ...] = ()


WAYS = {
    "one row a batch": Way(slice_rows=1),
    "three shards": Way(slice_rows=2, shards=3),
    "rows meet in one shard": Way(broadcast=False),
    "rows meet in eight shards": Way(broadcast=False, shards=8, slice_rows=1),
    "no pruning": Way(without=("prune_columns",)),
}


@dataclass(frozen=True)
class Answer:
    """What a run gave, in an order of its own."""

    rows: dict[str, list[str]]
    rejected: list[tuple[str, ...]]
    books: dict[str, dict[str, int]]


def answer(given: Mapping[str, Rows], chain: list[dict[str, Any]], outputs: Sequence[str] = (), way: Way = Way()) -> Answer:
    """Run `chain` over `given` and collect `outputs` (the last step's rows where there are none)."""
    outputs = outputs or (chain[-1]["id"],)
    tables = {name: as_table(rows) for name, rows in given.items()}
    spec = {
        "name": "chain",
        "sources": {name: {"connector": "inline", "connection": {}, "rows": []} for name in tables},
        "transformations": chain,
        "destinations": [{"id": "out", "connector": "console", "connection": {}, "input": outputs[0]}],
    }
    sources = {name: RowsSource(table, way.slice_rows) for name, table in tables.items()}
    plan = build(loads(json.dumps(spec, default=str)), BuildOptions(sources=sources, outputs=False))
    with pytest.MonkeyPatch.context() as patch:
        if not way.broadcast:
            patch.setattr(joins, "BROADCAST_BYTES", -1)
        patch.setattr(passes, "PASSES", tuple(each for each in passes.PASSES if each.__name__ not in way.without))
        request = RunRequest(new_run_id(), options=EngineOptions(shards=way.shards))
        found = collect(plan, {output: output for output in outputs}, request)
    assert found.result.error is None
    return Answer(
        {name: row_texts(table) for name, table in found.tables.items()},
        sorted((each["step"], each["reason"], str(each["column"]), str(each["message"])) for each in found.rejected.to_pylist()),
        {step: line for step, line in found.result.books.items() if not step.startswith("collect")},
    )


def check(given: Mapping[str, Rows], chain: list[dict[str, Any]], outputs: Sequence[str] = ()) -> Answer:
    """Every way gives the same answer, which is returned."""
    expected = answer(given, chain, outputs)
    for name, way in WAYS.items():
        assert answer(given, chain, outputs, way) == expected, name
    return expected


LEFT = [{"id": i, "k": k, "t": i} for i, k in enumerate([1, 1, 2, 3, None, 5, 5, 9])]
RIGHT = [{"k": k, "v": f"v{i}", "ts": i} for i, k in enumerate([1, 2, 2, None, 5, 7, 8])]


@pytest.mark.parametrize("duplicates", ["reject", "expand"])
@pytest.mark.parametrize("missing", ["null", "reject", "drop"])
def test_an_enrichment_gives_the_same_whether_its_reference_is_small_or_large(missing: str, duplicates: str) -> None:
    config = {"with": "r", "on": "k", "add": ["v"], "missing": missing, "duplicates": duplicates}
    found = check({"l": LEFT, "r": RIGHT}, [{"id": "e", "type": "enrichment", "input": "l", "config": config}])
    rejected = [reason for _, reason, _, _ in found.rejected]
    assert rejected == ["ambiguous_reference"] * (duplicates == "reject") + ["missing_reference"] * (3 * (missing == "reject"))


@pytest.mark.parametrize("kind", ["inner", "left", "right", "full", "semi", "anti"])
def test_a_join_gives_the_same_however_its_rows_meet(kind: str) -> None:
    check({"l": LEFT, "r": RIGHT}, [{"id": "j", "type": "join", "input": ["l", "r"], "config": {"on": "k", "kind": kind}}])


@pytest.mark.parametrize("direction", ["backward", "forward"])
@pytest.mark.parametrize("kind", ["inner", "left"])
def test_a_join_on_the_nearest_gives_the_same_however_its_rows_meet(kind: str, direction: str) -> None:
    config = {"on": "k", "kind": kind, "asof": {"left": "t", "right": "ts", "direction": direction}}
    check({"l": LEFT, "r": RIGHT}, [{"id": "j", "type": "join", "input": ["l", "r"], "config": config}])


def steps(*parts: Part) -> list[dict[str, Any]]:
    """Steps as (id, type, input, config)."""
    return [{"id": name, "type": kind, "input": source, "config": config} for name, kind, source, config in parts]


CONSTANT = {"fields": {"c": {"value": 1}}}
COUNT = {"by": [], "measures": {"n": "count(*)"}}
RENAMED = ("m", "mapping", "l", {"fields": {"z": "t", "y": "k"}})
UNREAD: dict[str, list[Part]] = {
    "a filter": [("f", "filtering", "l", {"where": "t > 2"}), ("a", "aggregation", "f", COUNT)],
    "a mapping": [RENAMED, ("a", "aggregation", "m", COUNT)],
    "mappings": [RENAMED, ("n", "mapping", "m", {"fields": {"y": "y", "z": "z"}}), ("c", "mapping", "n", CONSTANT)],
    "a union": [RENAMED, ("u", "union", ["m", "r"], {}), ("c", "mapping", "u", CONSTANT)],
    "a join": [("j", "join", ["l", "r"], {"on": "k"}), ("c", "mapping", "j", CONSTANT)],
    "a full join": [("j", "join", ["l", "r"], {"on": "k", "kind": "full"}), ("c", "aggregation", "j", COUNT)],
    "an aggregation": [("a", "aggregation", "l", {"by": ["k"], "measures": {"n": "sum(t)"}}), ("c", "mapping", "a", CONSTANT)],
    "a deduplication": [("d", "deduplication", "l", {"by": "k", "order_by": "t"}), ("c", "mapping", "d", CONSTANT)],
}


@pytest.mark.parametrize("behind", UNREAD)
def test_rows_are_counted_also_where_no_column_is_read(behind: str) -> None:
    given = {"l": LEFT, "r": RIGHT} if any("r" in source for _, _, source, _ in UNREAD[behind]) else {"l": LEFT}
    found = check(given, steps(*UNREAD[behind]))
    assert any(found.rows.values())


def test_rows_are_counted_also_where_a_branch_is_all_that_is_read() -> None:
    route = ("x", "route", "m", {"branches": {"a": "z > 2"}, "default": "b"})
    found = check(
        {"l": LEFT}, steps(RENAMED, route, ("c", "mapping", "x.a", CONSTANT), ("d", "aggregation", "x.b", COUNT)), ("c", "d")
    )
    assert (len(found.rows["c"]), found.rows["d"]) == (5, ["{n: 3}"])


def test_a_batch_of_which_no_row_is_left_goes_on_to_the_next_check() -> None:
    rows = [{"x": 5, "y": "7"}, {"x": -1, "y": "abc"}, {"x": -1, "y": "8"}, {"x": 3, "y": "9"}]
    rules = [{"that": "x > 0", "message": "too small"}, {"that": "cast(y as int) > 7", "message": "y is small"}]
    found = check({"l": rows}, steps(("v", "validation", "l", {"rules": rules})))
    assert [(reason, message[:18]) for _, reason, _, message in found.rejected] == [
        ("validation_failed", "cast(y as int) > 7"),
        ("validation_failed", "too small"),
        ("validation_failed", "y is small"),
    ]


def test_of_equally_near_rows_the_same_one_matches_in_whatever_order_they_come() -> None:
    prices = [{"k": 1, "ts": 0, "v": v, "w": w} for v, w in [("b", 1), ("a", 2), ("a", 3), ("c", 0)]]
    config = {"on": "k", "asof": {"left": "t", "right": "ts"}, "columns": ["id", "w"]}
    chain = steps(("j", "join", ["l", "r"], config))
    expected = check({"l": LEFT[:1], "r": prices}, chain)
    assert expected.rows["j"] == ["{id: 0, w: 2}"]
    assert check({"l": LEFT[:1], "r": prices[::-1]}, chain) == expected


@pytest.mark.parametrize("kind", ["right", "full"])
def test_a_key_of_either_side_has_a_type_that_holds_both(kind: str) -> None:
    days = pa.table({"k": pa.array([date(2025, 1, 1), date(2025, 1, 2)])})
    times = pa.table({"k": pa.array([datetime(2025, 1, 1), datetime(2025, 1, 2, 3)], pa.timestamp("us")), "v": [1, 2]})
    found = check({"l": days, "r": times}, steps(("j", "join", ["l", "r"], {"on": "k", "kind": kind})))
    assert "{k: 2025-01-02 03:00:00, v: 2}" in found.rows["j"]
    small, large = pa.table({"k": pa.array([1], pa.int32())}), pa.table({"k": [1.0, 2.5], "v": [1, 2]})
    found = check({"l": small, "r": large}, steps(("j", "join", ["l", "r"], {"on": "k", "kind": kind})))
    assert found.rows["j"] == ["{k: 1, v: 1}", "{k: 2.5, v: 2}"]


TEXTS = [{"id": 1, "s": "1"}, {"id": 2, "s": "x"}, {"id": 3, "s": None}, {"id": 4, "s": "9"}, {"id": 5, "s": "y"}]


@pytest.mark.parametrize("copy", [False, True])
def test_a_row_on_which_the_condition_of_a_branch_fails_is_rejected_and_no_other(copy: bool) -> None:
    config = {"branches": {"late": "id > 4", "large": "cast(s as int) > 5"}, "default": "rest", "copy": copy}
    found = check({"l": TEXTS}, steps(("x", "route", "l", config)), ("x.late", "x.large", "x.rest"))
    assert [len(found.rows[name]) for name in ("x.late", "x.large", "x.rest")] == [0 if copy else 1, 1, 2]
    assert [(reason, column) for _, reason, column, _ in found.rejected] == [("expression_failed", "large")] * (1 + copy)
