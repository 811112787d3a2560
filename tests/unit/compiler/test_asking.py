"""A lookup by batch gives what holding the whole reference gives, however the input is cut and whatever is remembered."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from beam_datahub.compiler.answers import SharedAnswers
from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.describe import describe
from beam_datahub.compiler.lookup import LookupRun
from beam_datahub.compiler.passes import PASSES, optimise
from beam_datahub.compiler.passes.columns import prune_columns
from beam_datahub.compiler.plan import Ask, Plan, Read, Stage
from beam_datahub.compiler.rows import Tally
from beam_datahub.compiler.stage import StageResult, StageRunner
from beam_datahub.component.asking import LookupCache
from beam_datahub.component.operators import Join, JoinKind
from beam_datahub.component.registry import component
from beam_datahub.component.source import ReadRequest
from beam_datahub.errors import DataHubError
from beam_datahub.io.sqlite import SqliteSource
from beam_datahub.kernels.session import KernelSession
from beam_datahub.runtime.collect import collect
from beam_datahub.runtime.engines import EngineOptions
from beam_datahub.runtime.launch import RunRequest
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.security import Secret
from beam_datahub.spec import loads
from beam_datahub.testing.comparing import row_texts

LEFT = pa.schema([("oid", pa.int64()), ("k", pa.int64()), ("region", pa.string())])
KEYS, REGIONS = st.none() | st.integers(0, 2), st.none() | st.sampled_from(["n", "N", "n ", "nul\0"])
LEFT_ROWS = st.lists(st.tuples(KEYS, REGIONS), max_size=30)
RIGHT_ROWS = st.lists(st.tuples(KEYS, REGIONS), max_size=12)
CACHES = ({"rows": 0}, {"rows": 3}, {"rows": 1000}, {"rows": 1000, "ttl_seconds": 1e-9})


def reference(path: Path, rows: Sequence[tuple[int | None, str | None]], extra: str = "") -> None:
    """A table `prices` in a SQLite file, which finds more than was asked for: `N` for `n`."""
    with sqlite3.connect(path) as file:
        file.execute(f"create table prices (k integer, region text collate nocase, price integer{extra})")
        file.executemany("insert into prices values (?, ?, ?)", [(*row, number) for number, row in enumerate(rows)])
    file.close()


def orders(rows: Sequence[tuple[int | None, str | None]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), ()]
    return pa.table([range(len(rows)), *columns], LEFT)


def planned(path: Path, left: pa.Table | None = None, **config: Any) -> Plan:
    """A plan that looks orders up in `prices`."""
    config = {"with": "prices", "on": ["k", "region"], "add": ["price"], "lookup": "batch", **config}
    spec = {
        "name": "asking",
        "sources": {
            "orders": {"connector": "inline", "connection": {}, "rows": []},
            "prices": {"connector": "sqlite", "connection": {"path": str(path)}, "table": "prices"},
        },
        "transformations": [{"id": "priced", "type": "enrichment", "input": "orders", "config": config}],
        "destinations": [{"id": "out", "connector": "console", "connection": {}, "input": "priced"}],
    }
    sources: Any = {"orders": RowsSource(LEFT.empty_table() if left is None else left)}
    return build(loads(json.dumps(spec)), BuildOptions(sources=sources, outputs=False))


def asking(plan: Plan) -> tuple[Stage, Ask]:
    """The stage that asks, with all its columns."""
    for each in PASSES:
        plan = plan if each is prune_columns else each(plan)
    stages = (node.operator for node in plan if isinstance(node.operator, Stage))
    return next((stage, each) for stage in stages for _, each in stage.steps if isinstance(each, Ask))


def outcome(results: Sequence[StageResult], step: str = "priced") -> tuple[list[str], Counter[str], Counter[str]]:
    """The rows, the reasons of rejections and the books of a step, over all batches."""
    rows = [text for result in results for text in row_texts(result.table)]
    reasons = Counter(reason for result in results for _, found in result.rejected for reason in found["reason"].to_pylist())
    books = sum((result.books.get(step, Tally()).counts for result in results), Counter[str]())
    return sorted(rows), reasons, books


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    left=LEFT_ROWS,
    right=RIGHT_ROWS,
    size=st.integers(1, 12),
    cache=st.sampled_from(CACHES),
    missing=st.sampled_from(["null", "reject", "drop"]),
    duplicates=st.sampled_from(["reject", "expand"]),
)
@example([(1, "n"), (1, "N"), (1, "n")], [(1, "n"), (1, "N")], 1, {"rows": 1000}, "null", "expand")
def test_asking_by_batch_is_holding_the_whole(
    tmp_path_factory: pytest.TempPathFactory, left: Any, right: Any, size: int, cache: Any, missing: str, duplicates: str
) -> None:
    path = tmp_path_factory.mktemp("asking") / "prices.sqlite"
    reference(path, right)
    stage, ask = asking(planned(path, missing=missing, duplicates=duplicates, cache=cache))
    columns = list(zip(*[(k, region, number) for number, (k, region) in enumerate(right)], strict=True)) or [(), (), ()]
    whole = pa.table(columns, ask.read.request.schema).select(ask.right.names)
    stage = Stage(stage.steps, schemas=(LEFT, stage.schemas[-1]))
    table = orders(left)
    with KernelSession(threads=1) as session:
        runner = StageRunner(stage, track=False)
        runner.open(lambda: session)
        batches = [table.slice(start, size) for start in range(0, table.num_rows, size)]
        found = outcome([runner.run(batch, session) for batch in batches])
    with KernelSession(threads=1) as session:
        held = StageRunner(
            Stage((("priced", ask.join),), None, None, stage.schemas, {"priced": ("prices", ask.right)}), track=False
        )
        (run,) = held.lookups
        assert isinstance(run, LookupRun)
        run.load(whole, session)
        expected = outcome([held.run(table, session)] if table.num_rows else [])
    assert found == expected


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Prices of 2,000 keys in one region; one has two."""
    reference(tmp_path / "prices.sqlite", [(number, "n") for number in range(2000)] + [(7, "n")])
    return tmp_path / "prices.sqlite"


def test_the_books_balance_and_only_what_is_needed_is_read(path: Path) -> None:
    table = orders([(3, "n"), (3, "n"), (7, "n"), (9999, "n"), (None, "n")])
    found = collect(
        planned(path, table, missing="reject"), {"priced": "priced"}, RunRequest(new_run_id(), options=EngineOptions())
    )
    assert found.result.books["prices"] == {"read": 3, "in": 0, "out": 3, "filtered": 0, "rejected": 0, "merged": 0, "added": 0}
    assert found.result.books["priced"] == {"read": 0, "in": 8, "out": 2, "filtered": 0, "rejected": 3, "merged": 3, "added": 0}
    assert found.result.lookups == {"priced": {"keys": 3, "hits": 0, "asked": 3, "queries": 1}}


def test_what_was_answered_is_remembered_also_that_there_is_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = spied(monkeypatch)
    run(path, [(1, "n"), (2, "zz"), (1, "n"), (2, "zz"), (3, "n")], 2)
    assert asked == [2, 1]


def test_what_was_not_asked_for_the_longest_is_forgotten_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = spied(monkeypatch)
    # Each key takes room for itself and its row: there is none for a fourth one, and then two stay.
    run(path, [(number, "n") for number in (1, 2, 3, 1, 4, 1, 4, 2)], 1, cache={"rows": 7})
    assert asked == [1, 1, 1, 1, 1]


def test_an_answer_holds_as_long_as_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("beam_datahub.compiler.answers.time.monotonic", lambda: now[0])
    asked = spied(monkeypatch)
    stage, _ = asking(planned(path, cache={"ttl_seconds": 60}))
    with KernelSession(threads=1) as session:
        runner = StageRunner(Stage(stage.steps, schemas=stage.schemas[-2:]), track=False)
        runner.open(lambda: session)
        for moment in (1000.0, 1059.0, 1061.0):
            now[0] = moment
            runner.run(orders([(1, "n")]), session)
    assert asked == [1, 1]


def test_workers_share_their_answers_in_redis(path: Path, monkeypatch: pytest.MonkeyPatch, redis: Any) -> None:
    asked = spied(monkeypatch)
    cache = {"rows": 0, "redis": f"redis://{redis.address}/3"}
    rows = [(1, "n"), (7, "n"), (2, "none")]
    first = run(path, rows, 2, cache=cache, duplicates="expand")
    assert asked == [2, 1]
    assert run(path, [*rows, (3, "n")], 9, cache=cache, duplicates="expand")[: len(first)] == first
    assert asked == [2, 1, 1]
    # Another question has answers of its own.
    run(path, rows, 9, cache=cache, duplicates="expand", add={"cost": "price"}, on={"k": "k"})
    assert asked == [2, 1, 1, 3]


def test_databases_behind_secret_urls_do_not_share_their_answers(redis: Any) -> None:
    def prefix(url: str) -> str:
        kind: Any = component("source", "postgresql")
        source = kind(kind.Connection(url=Secret(url)), kind.Options(table="prices"))
        request = ReadRequest(LEFT, tuple(LEFT.names))
        join = Join(JoinKind.LEFT, ("k",), ("k",), (("region", 1, "region"),))
        ask = Ask(join, Read("postgresql", source, request), "prices", LEFT)
        cache = LookupCache(redis=f"redis://{redis.address}/3")
        with KernelSession(threads=1) as session:
            return SharedAnswers(ask, pa.schema([LEFT.field("k")]), cache, session)._prefix

    here = prefix("postgresql://etl:hidden@here/shop")
    assert here != prefix("postgresql://etl:hidden@there/shop")
    assert here == prefix("postgresql://etl:changed@here/shop")


def test_a_redis_that_does_not_answer_is_passed_by(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = spied(monkeypatch)
    found = run(path, [(1, "n"), (2, "n")], 1, cache={"rows": 0, "redis": "redis://127.0.0.1:1/0"})
    assert [text for text in found if "1" in text]
    assert asked == [1, 1]


def test_a_row_that_cannot_be_read_is_a_rejected_record_of_the_reference(tmp_path: Path) -> None:
    path = tmp_path / "prices.sqlite"
    reference(path, [(1, "n"), (2, "n")])
    with sqlite3.connect(path) as file:
        file.execute("update prices set price = 'dear' where k = 2")
    found = collect(planned(path, orders([(1, "n"), (2, "n")])), {"priced": "priced"}, RunRequest(new_run_id()))
    (refused,) = found.rejected.to_pylist()
    assert (refused["step"], refused["reason"], refused["column"]) == ("prices", "type_mismatch", "price")
    assert found.tables["priced"].sort_by("oid")["price"].to_pylist() == [0, None]
    assert found.result.books["prices"]["rejected"] == 1


def test_the_plan_asks_a_large_table_by_its_key_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "prices.sqlite"
    reference(path, [(number, "n") for number in range(30_000)], ", primary key (k, region)")
    few, many = orders([(1, "n")] * 100), orders([(1, "n")] * 9000)
    facts = {
        name: describe(planned(path, table, lookup="auto")).steps["priced"] for name, table in {"few": few, "many": many}.items()
    }
    assert "prices is asked for the keys of each batch (about 100 rows here, 30,000 there)" in facts["few"].facts
    assert facts["few"].traits["strategy"] == "by keys"
    assert facts["many"].traits["strategy"] != "by keys"
    assert any("(about 9,000 rows here, 30,000 there)" in fact for fact in facts["many"].facts)
    whole = describe(planned(path, few, lookup="whole")).steps["priced"]
    assert any("`lookup: whole`" in fact for fact in whole.facts)
    other = describe(planned(path, few, lookup="auto", on="k")).steps["priced"]
    assert any("'prices' is not known to have a key on k" in fact for fact in other.facts)


def test_what_cannot_be_asked_is_refused(path: Path) -> None:
    with pytest.raises(
        DataHubError, match="there is no lookup by batch here: 'prices' cannot be asked by 'price' as by equal values"
    ):
        planned(path, pa.table({"oid": [1.5]}), on={"oid": "price"})


def test_a_password_of_redis_does_not_stand_in_the_spec(path: Path) -> None:
    with pytest.raises(DataHubError, match="has a password in clear") as raised:
        planned(path, cache={"redis": "redis://me:hidden@cache/0"})
    assert "hidden" not in str(raised.value)


def test_there_is_one_join_that_is_asked(path: Path) -> None:
    """The source is not read beside being asked."""
    physical = optimise(planned(path))
    assert not any(isinstance(node.operator, Join) or node.step == "prices" for node in physical)


def spied(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many keys each question to the source has."""
    asked: list[int] = []
    lookup = SqliteSource.lookup

    def count(self: SqliteSource, keys: pa.Table, *rest: Any, **more: Any) -> Any:
        asked.append(keys.num_rows)
        return lookup(self, keys, *rest, **more)

    monkeypatch.setattr(SqliteSource, "lookup", count)
    return asked


def run(path: Path, rows: Sequence[tuple[int, str]], size: int, **config: Any) -> list[str]:
    """The rows of the lookup over batches of `size` rows."""
    stage, _ = asking(planned(path, **config))
    with KernelSession(threads=1) as session:
        runner = StageRunner(Stage(stage.steps, schemas=stage.schemas[-2:]), track=False)
        runner.open(lambda: session)
        batches = [orders(rows).slice(start, size) for start in range(0, len(rows), size)]
        return [text for batch in batches for text in sorted(row_texts(runner.run(batch, session).table))]
