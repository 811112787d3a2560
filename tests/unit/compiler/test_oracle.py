"""Generated integrations over generated rows give what one DuckDB query over the same rows gives, however the rows fall."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.passes import joins
from beam_datahub.compiler.shuffle import SplitByKey
from beam_datahub.runtime.collect import Collected, collect
from beam_datahub.runtime.launch import RunRequest
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import loads
from beam_datahub.testing import oracle

# The same seeds in every run: a failure here is a failure everywhere.
FEW = settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

SCHEMA = pa.schema(
    {
        "k": pa.string(),
        "s": pa.string(),
        "n": pa.int32(),
        "big": pa.int64(),
        "d": pa.decimal128(18, 4),
        "f": pa.float64(),
        "b": pa.bool_(),
        "day": pa.date32(),
        "ts": pa.timestamp("us"),
        "t": pa.timestamp("us", tz="UTC"),
    }
)
OTHER = pa.schema({"key": pa.string(), "label": pa.string(), "weight": pa.int64()})

# "é" as one and as two code points, a family of one grapheme, a flag, a text with a line break and quotes.
KEYS = ["a", "b", "é", "e\u0301", "👩‍👩‍👧", "🇪🇺", "x\"\n'y", "", None]
LEAPS = [datetime(2025, 3, 30, tzinfo=UTC), datetime(2025, 10, 26, tzinfo=UTC), datetime(2024, 11, 3, 4, tzinfo=UTC)]
MOMENTS = [
    *(leap + timedelta(minutes=minutes) for leap in LEAPS for minutes in (0, 59, 60, 61, 119, 120, 121, 180)),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(9998, 12, 31, tzinfo=UTC),
]
DECIMALS = [Decimal(text) for text in ("0.0001", "-99999999999999.9999", "99999999999999.9999", "2.5", "-1")]
VALUES: dict[str, list[Any]] = {
    "k": KEYS,
    "s": ["1", "-7", " 12 ", "9999999999", "x", "", None],
    "n": [0, 1, 2, 3, -1, -5, 2**31 - 1, -(2**31), None],
    "big": [0, 3, 50, -100, 2**63 - 1, -(2**63), None],
    "d": [*DECIMALS, None],
    "f": [0.0, -0.0, 0.1, -2.5, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"), None],
    "b": [True, False, None],
    "day": [date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31), date(2025, 1, 1), date(2025, 1, 4), None],
    "ts": [*(moment.replace(tzinfo=None) for moment in MOMENTS), None],
    "t": [*MOMENTS, None],
}


def tables(random: Random) -> dict[str, pa.Table]:
    """A table of all types and one to join it with; few keys, so that rows meet, and now and then no rows at all."""
    keys = random.sample(KEYS, random.randint(1, 4))
    count = random.choice([0, 1, 5, 12, 12, 25])
    rows = [{**{name: random.choice(values) for name, values in VALUES.items()}, "k": random.choice(keys)} for _ in range(count)]
    others = [
        {"key": random.choice(KEYS), "label": random.choice(["x", "y", None]), "weight": random.randint(-3, 3)}
        for _ in range(random.choice([0, 3, 8]))
    ]
    return {"rows": pa.Table.from_pylist(rows, SCHEMA), "other": pa.Table.from_pylist(others, OTHER)}


KINDS = {"k": "text", "s": "number in text", "n": "integer", "big": "bigint", "d": "decimal", "f": "double"}
KINDS |= {"b": "boolean", "day": "date", "ts": "timestamp", "t": "timestamptz"}

CONDITIONS: dict[str, list[str]] = {
    "text": ["{c} in ('a', 'é')", "{c} like '%e%'", "length({c}) > 0", "{c} is null"],
    "number in text": ["{c} <> 'x'"],
    "integer": ["{c} > 0", "{c} is null", "coalesce({c}, 0) % 2 = 0"],
    "bigint": ["{c} >= 3", "{c} between -100 and 100"],
    "decimal": ["{c} < 2.5", "{c} is not null"],
    "double": ["{c} < 1e299", "isnan({c})", "{c} >= 0"],
    "boolean": ["{c}", "not {c}"],
    "date": ["{c} > date '2025-01-02'"],
    "timestamp": ["{c} < timestamp '2025-10-26 02:30:00'"],
    "timestamptz": ["{c} >= timestamptz '2025-03-30 01:00:00+00'", "hour(timezone('Europe/Berlin', {c})) = 3"],
}
# (kind of the argument, expression, kind of the result, whether it can fail)
COMPUTED: list[tuple[str, str, str, bool]] = [
    ("text", "upper({c})", "text", False),
    ("text", "length({c})", "bigint", False),
    ("text", "{c} || '!'", "text", False),
    ("integer", "{c} + 1", "integer", True),
    ("integer", "{c} * 3", "integer", True),
    ("bigint", "{c} + 1", "bigint", True),
    ("decimal", "cast({c} as double) / 2", "double", False),
    ("number in text", "cast({c} as integer)", "integer", True),
    ("boolean", "case when {c} then 'yes' else 'no' end", "text", False),
    ("date", "year({c})", "bigint", False),
    ("timestamp", "timezone('Europe/Berlin', {c})", "timestamptz", True),
    ("timestamptz", "hour(timezone('America/New_York', {c}))", "bigint", True),
    ("timestamptz", "date_trunc('day', timezone('Europe/Berlin', {c}))", "timestamp", True),
    ("timestamptz", "{c} + interval 1 hour", "timestamptz", True),
]
MEASURES: dict[str, list[tuple[str, str]]] = {
    "text": [("count(distinct {c})", "bigint"), ("min({c})", "text"), ("string_agg({c}, ',' order by {c})", "text")],
    "number in text": [("max({c})", "text")],
    "integer": [("sum({c})", "sum"), ("avg({c})", "mean"), ("max({c})", "integer"), ("stddev({c} / 1000)", "mean")],
    "bigint": [("sum({c})", "sum"), ("min({c})", "bigint"), ("count(distinct {c})", "bigint")],
    "decimal": [("sum({c})", "sum"), ("avg({c})", "mean"), ("max({c}) filter (where {c} < 0)", "decimal")],
    "double": [("min({c})", "double"), ("count({c})", "bigint")],
    "boolean": [("bool_or({c})", "boolean"), ("count(*) filter (where {c})", "bigint")],
    "date": [("max({c})", "date")],
    "timestamp": [("min({c})", "timestamp"), ("count(distinct {c})", "bigint")],
    "timestamptz": [("max({c})", "timestamptz")],
}


@dataclass
class Chain:
    """An integration under construction, and the query that says the same."""

    random: Random
    columns: dict[str, str] = field(default_factory=lambda: dict(KINDS))
    steps: list[dict[str, Any]] = field(default_factory=list)
    ctes: list[str] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    here: str = "rows"

    def pick(self, values: Any) -> Any:
        return self.random.choice(list(values))

    def add(self, kind: str, config: dict[str, Any], sql: str, inputs: list[str] | None = None) -> str:
        """One more step; `sql` reads the relation before it as {it}."""
        name = f"step{len(self.steps)}"
        self.steps.append({"id": name, "type": kind, "input": inputs or [self.here], "config": config})
        self.define(name, sql)
        return name

    def define(self, name: str, sql: str) -> None:
        self.ctes.append(f"{name} AS ({sql.replace('{it}', self.here)})")

    def reject(self, step: str, failing: str) -> None:
        self.rejected.append((step, f"SELECT count(*) FROM {self.here} WHERE {failing}"))

    def condition(self) -> str:
        column = self.pick(name for name, kind in self.columns.items() if kind in CONDITIONS)
        return str(self.pick(CONDITIONS[self.columns[column]])).format(c=column)

    # steps

    def filtering(self) -> None:
        condition = self.condition()
        self.here = self.add("filtering", {"where": condition}, f"SELECT * FROM {{it}} WHERE {condition}")

    def filtering_that_fails(self) -> None:
        column = next((name for name, kind in self.columns.items() if kind == "number in text"), None)
        if column is None:
            return
        value = f"cast({column} as integer)"
        step = self.add("filtering", {"where": f"{value} > 0"}, f"SELECT * FROM {{it}} WHERE TRY({value}) > 0")
        self.reject(step, f"{column} IS NOT NULL AND TRY({value}) IS NULL")
        self.here = step

    def mapping(self) -> None:
        fitting = [(column, *rest) for column, kind in self.columns.items() for wanted, *rest in COMPUTED if wanted == kind]
        if not fitting:
            return
        column, template, kind, can_fail = self.pick(fitting)
        name, value = f"made{len(self.steps)}", template.format(c=column)
        failing = f"{column} IS NOT NULL AND TRY({value}) IS NULL" if can_fail else "false"
        step = self.add(
            "mapping",
            {"keep": "all", "fields": {name: value}},
            f"SELECT *, TRY({value}) AS {name} FROM {{it}} WHERE NOT ({failing})",
        )
        self.reject(step, failing)
        self.columns[name] = kind
        self.here = step

    def cast(self) -> None:
        column = next((name for name, kind in self.columns.items() if kind == "number in text"), None)
        if column is None:
            return
        on_error = self.pick(["reject", "null"])
        tried = f"TRY_CAST({column} AS INTEGER)"
        failing = f"{column} IS NOT NULL AND {tried} IS NULL"
        keep = f" WHERE NOT ({failing})" if on_error == "reject" else ""
        step = self.add(
            "cast",
            {"types": {column: "integer"}, "on_error": on_error},
            f"SELECT * REPLACE ({tried} AS {column}) FROM {{it}}{keep}",
        )
        if on_error == "reject":
            self.reject(step, failing)
        self.columns[column] = "integer"
        self.here = step

    def _ordered(self, by: str) -> tuple[str, str, str]:
        """(the column to order by, as the spec says it, as SQL with every other column after it)."""
        column, direction = self.pick([name for name in self.columns if name != by] or [by]), self.pick(["", " desc"])
        rest = ", ".join(f'"{name}" ASC NULLS LAST' for name in self.columns if name not in (by, column))
        return column, f"{column}{direction}", f'"{column}"{direction} NULLS LAST' + (f", {rest}" if rest else "")

    def deduplication(self) -> None:
        by = self.pick(self.columns)
        _, order, sql = self._ordered(by)
        self.here = self.add(
            "deduplication",
            {"by": by, "order_by": order},
            f"SELECT * FROM {{it}} QUALIFY row_number() OVER (PARTITION BY {by} ORDER BY {sql}) = 1",
        )

    def distinct(self) -> None:
        self.here = self.add("deduplication", {}, "SELECT DISTINCT * FROM {it}")

    def top(self) -> None:
        by, limit = self.pick(self.columns), self.pick([1, 2, 5])
        _, order, sql = self._ordered(by)
        place = f"row_number() OVER (PARTITION BY {by} ORDER BY {sql})"
        name = f"rank{len(self.steps)}"
        self.here = self.add(
            "top",
            {"by": by, "order_by": order, "limit": limit, "rank": name},
            f"SELECT *, {place} AS {name} FROM {{it}} QUALIFY {place} <= {limit}",
        )
        self.columns[name] = "bigint"

    def aggregation(self) -> None:
        few = [name for name, kind in self.columns.items() if kind in ("text", "boolean")] or list(self.columns)
        keys = list(dict.fromkeys(self.pick([*few, *few, *self.columns]) for _ in range(self.random.randint(0, 2))))
        fitting = [(column, *measure) for column, kind in self.columns.items() for measure in MEASURES.get(kind, [])]
        chosen = [self.pick(fitting) for _ in range(self.random.randint(2, 5))] if fitting else []
        count = f"count{len(self.steps)}"
        measures, kinds = {count: "count(*)"}, {count: "bigint"}
        for number, (column, template, kind) in enumerate(chosen, start=1):
            measures[f"{count}_{number}"], kinds[f"{count}_{number}"] = template.format(c=column), kind
        select = ", ".join([*keys, *(f"{value} AS {name}" for name, value in measures.items())])
        group = f" GROUP BY {', '.join(keys)}" if keys else ""
        self.here = self.add("aggregation", {"by": keys, "measures": measures}, f"SELECT {select} FROM {{it}}{group}")
        self.columns = {**{key: self.columns[key] for key in keys}, **kinds}

    def join(self) -> None:
        keys = [name for name, kind in self.columns.items() if kind == "text"]
        if not keys or "label" in self.columns:
            return
        key, kind = self.pick(keys), self.pick(["inner", "left", "full", "semi", "anti"])
        sql = f"SELECT l.*, label, weight FROM {{it}} l {kind.upper()} JOIN other r ON l.{key} = r.key"
        if kind in ("semi", "anti"):
            sql = f"SELECT * FROM {{it}} l {kind.upper()} JOIN other r ON l.{key} = r.key"
        elif kind == "full":
            either = f"l.* REPLACE (coalesce(l.{key}, r.key) AS {key})"
            sql = f"SELECT {either}, label, weight FROM {{it}} l FULL JOIN other r ON l.{key} = r.key"
        self.here = self.add("join", {"kind": kind, "on": {key: "key"}}, sql, [self.here, "other"])
        if kind not in ("semi", "anti"):
            self.columns |= {"label": "text", "weight": "bigint"}

    def union(self) -> None:
        first, condition = self.here, self.condition()
        second = self.add("filtering", {"where": condition}, f"SELECT * FROM {{it}} WHERE {condition}")
        self.here = self.add("union", {}, f"FROM {first} UNION ALL FROM {second}", [first, second])

    def route(self) -> None:
        one, two = self.condition(), self.condition()
        step = self.add("route", {"branches": {"one": one, "two": two}, "default": "rest"}, "FROM {it}")
        before = self.here
        self.ctes.append(f"{step}_one AS (SELECT * FROM {before} WHERE {one})")
        self.ctes.append(f"{step}_two AS (SELECT * FROM {before} WHERE ({one}) IS NOT TRUE AND {two})")
        self.ctes.append(f"{step}_rest AS (SELECT * FROM {before} WHERE ({one}) IS NOT TRUE AND ({two}) IS NOT TRUE)")
        taken = self.random.sample(["one", "two", "rest"], self.random.randint(1, 3))
        parts = " UNION ALL ".join(f"FROM {step}_{branch}" for branch in taken)
        self.here = self.add("union", {}, parts, [f"{step}.{branch}" for branch in taken])


STEPS = [
    Chain.filtering,
    Chain.filtering_that_fails,
    Chain.mapping,
    Chain.cast,
    Chain.deduplication,
    Chain.distinct,
    Chain.top,
    Chain.join,
    Chain.union,
    Chain.route,
    Chain.aggregation,
    Chain.aggregation,
]


def chain_of(random: Random) -> Chain:
    """A few steps, one after the other; a step for which the columns are not there is left out."""
    chain = Chain(random)
    for _ in range(random.randint(1, 5)):
        random.choice(STEPS)(chain)
    if not chain.steps:
        chain.distinct()
    return chain


def one_batch_a_bundle(split: SplitByKey, batch: pa.RecordBatch) -> Iterator[Any]:
    """What many workers do: every batch is a bundle, whose partial results meet those of the others in a shard."""
    yield from whole_bundles(split, batch)
    yield from split.finish_bundle()
    split.start_bundle()


whole_bundles = SplitByKey.process


def carried_out(
    chain: Chain, given_tables: dict[str, pa.Table], slice_rows: int | None, *, spread: bool = False, broadcast: bool = True
) -> Collected:
    used = {name for step in chain.steps for name in step["input"]}
    sources = {name: RowsSource(table, slice_rows) for name, table in given_tables.items() if name in used}
    spec = {
        "name": "generated",
        "sources": {name: {"connector": "inline", "connection": {}, "rows": []} for name in sources},
        "transformations": chain.steps,
        "destination": {"connector": "console", "input": chain.here},
    }
    plan = build(loads(json.dumps(spec)), BuildOptions(sources=sources, outputs=False, threads=2))
    with pytest.MonkeyPatch.context() as patch:
        if spread:
            patch.setattr(SplitByKey, "process", one_batch_a_bundle)
        if not broadcast:
            # Both sides of a join are split by key.
            patch.setattr(joins, "BROADCAST_BYTES", -1)
        collected = collect(plan, {"out": chain.here}, RunRequest(new_run_id()))
    assert collected.result.error is None, chain.steps
    return collected


def asked(chain: Chain, given_tables: dict[str, pa.Table]) -> tuple[pa.Table, Counter[str]]:
    """The rows and the number of rejected records of each step, by one query each."""
    with duckdb.connect(config={"disabled_optimizers": "common_subexpressions"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in given_tables.items():
            connection.register(name, table)
        given = "WITH " + ", ".join(chain.ctes)
        rows = connection.sql(f"{given} FROM {chain.here}").to_arrow_table()
        counts = {step: connection.sql(f"{given} {sql}").fetchall()[0][0] for step, sql in chain.rejected}
    return rows, Counter({step: count for step, count in counts.items() if count})


@FEW
@given(seed=st.integers(0, 2**64))
def test_any_integration_gives_what_one_query_gives(seed: int) -> None:
    random = Random(seed)
    chain, given_tables = chain_of(random), tables(random)
    slice_rows, spread = random.choice([None, 1, 3, 7]), random.choice([True, False])
    found = carried_out(chain, given_tables, slice_rows, spread=spread, broadcast=not spread)
    expected, rejected = asked(chain, given_tables)
    assert oracle.differences(found.tables["out"], expected) == "", chain.steps
    assert Counter(found.rejected.column("step").to_pylist()) == rejected, chain.steps


@settings(FEW, max_examples=15)
@given(seed=st.integers(0, 2**64))
def test_slicing_the_input_otherwise_changes_nothing(seed: int) -> None:
    random = Random(seed)
    chain, given_tables = chain_of(random), tables(random)
    whole, cut = carried_out(chain, given_tables, None), carried_out(chain, given_tables, 2, spread=True)
    assert oracle.differences(cut.tables["out"], whole.tables["out"]) == "", chain.steps
    # Not the message: only the first few records of a batch are given the engine's own words beside the value.
    told = ["step", "reason", "column", "original"]
    assert oracle.differences(cut.rejected.select(told), whole.rejected.select(told)) == "", chain.steps
    assert cut.tables["out"].schema == whole.tables["out"].schema


def test_a_join_with_nothing_accounts_for_every_row() -> None:
    chain = Chain(Random(0))
    chain.here = chain.add("join", {"on": {"k": "key"}}, "", ["rows", "other"])
    rows = pa.Table.from_pylist([{"k": "a", "n": number} for number in range(9)], SCHEMA)
    found = carried_out(chain, {"rows": rows, "other": OTHER.empty_table()}, 1, spread=True, broadcast=False)
    assert found.tables["out"].num_rows == 0
    assert found.result.books["step0"]["filtered"] == 9
