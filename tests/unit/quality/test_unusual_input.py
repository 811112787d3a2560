from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.errors import DataHubError, ErrorGroup, QualityFailed
from beam_datahub.runtime.collect import Collected, collect
from beam_datahub.runtime.launch import RunRequest, run
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import loads


def looked(
    rows: pa.Table, *rules: Mapping[str, Any], steps: Sequence[Mapping[str, Any]] = (), slice_rows: int | None = None
) -> tuple[dict[str, dict[str, Any]], Collected]:
    """What rules find in rows, and all that the run gives; rules are of the last step if they name none."""
    last = steps[-1]["id"] if steps else "rows"
    spec = {
        "name": "looked",
        "source": {"name": "rows", "connector": "inline", "connection": {}, "rows": []},
        "transformations": list(steps),
        "quality_rules": [{"step": last, **rule} for rule in rules],
        "destination": {"id": "out", "connector": "console", "input": last},
    }
    plan = build(loads(json.dumps(spec)), BuildOptions(sources={"rows": RowsSource(rows, slice_rows)}, outputs=False))
    found = collect(plan, {last: last}, RunRequest(new_run_id()), quality=True)
    return {rule["name"]: rule for rule in found.result.quality}, found


def test_columns_of_nulls_are_incomplete_and_else_hold_but_have_no_figure() -> None:
    rows = pa.table({"n": pa.array([None, None], pa.int64()), "t": pa.array([None, None], pa.string())})
    found, _ = looked(
        rows,
        {"name": "there", "type": "completeness", "field": "n"},
        {"name": "least", "type": "validity", "field": "n", "min": 1},
        {"name": "form", "type": "validity", "field": "t", "format": "email"},
        {"name": "own", "type": "uniqueness", "field": "n"},
        {"name": "mean", "type": "statistics", "field": "n", "figure": "mean", "min": 0},
        {"name": "nulls", "type": "statistics", "field": "n", "figure": "null_ratio", "below": 0.5},
    )
    assert {name: rule["passed"] for name, rule in found.items()} == {
        "there": False,
        "least": True,
        "form": True,
        "own": True,
        "mean": False,
        "nulls": False,
    }
    assert "there is no value" in found["mean"]["outcome"]
    assert found["least"]["checked"] == 0


def test_no_rows_at_all_are_counted_as_none() -> None:
    rows = pa.table({"n": pa.array([], pa.int64())})
    found, _ = looked(
        rows,
        {"name": "share", "type": "validity", "field": "n", "min": 1, "threshold": 0.5},
        {"name": "sum", "type": "statistics", "field": "n", "figure": "sum", "min": 0},
        {"name": "distinct", "type": "statistics", "field": "n", "figure": "distinct", "max": 3},
        {"name": "count", "type": "row_count", "max": 0},
    )
    assert [rule["passed"] for rule in found.values()] == [True, False, True, True]
    assert found["share"]["ratio"] == 1


def test_what_is_not_a_number_is_greater_than_every_number() -> None:
    rows = pa.table({"n": [1.0, float("nan"), float("inf"), None]})
    found, _ = looked(
        rows,
        {"name": "range", "type": "validity", "field": "n", "min": 0, "max": 10},
        {"name": "positive", "type": "validity", "field": "n", "above": 0},
        {"name": "there", "type": "completeness", "field": "n"},
        {"name": "max", "type": "statistics", "field": "n", "figure": "max", "below": 10},
    )
    assert [rule["failed"] for rule in found.values()] == [2, 0, 1, 1]


def test_rules_see_what_aggregations_and_joins_give() -> None:
    rows = pa.table({"k": ["a", "a", "b"], "n": [1, 2, 30]})
    per_key = {"id": "per_key", "type": "aggregation", "config": {"by": "k", "measures": {"total": "sum(n)"}}}
    both = {"id": "both", "type": "join", "input": ["rows", "per_key"], "config": {"on": "k"}}
    found, collected = looked(
        rows,
        {"name": "small", "step": "per_key", "type": "validity", "field": "total", "below": 10, "action": "reject"},
        {"name": "part", "type": "consistency", "that": "n <= total"},
        {"name": "keys", "step": "per_key", "type": "statistics", "field": "k", "contains": ["a", "b", "c"]},
        {"name": "mean", "type": "statistics", "field": "n", "figure": "mean", "min": 1.5, "max": 1.5},
        steps=[per_key, both],
    )
    assert [rule["passed"] for rule in found.values()] == [False, True, False, True]
    assert found["keys"]["outcome"] == "values wanted of k that are missing: 1, at most 0 wanted"
    assert {row["k"] for row in collected.tables["both"].to_pylist()} == {"a"}


@pytest.mark.parametrize("slice_rows", [None, 1, 3])
def test_rules_behind_a_mapping_that_rejects_judge_what_it_gives(slice_rows: int | None) -> None:
    rows = pa.table({"id": [1, 2, 3, 4, 5], "text": ["10", "x", "300", "-1", None]})
    clean = {"id": "clean", "type": "mapping", "config": {"fields": {"id": "id", "n": "cast(text as integer)"}}}
    found, collected = looked(
        rows,
        {"name": "range", "type": "validity", "field": "n", "min": 0, "max": 100, "where": "id <> 4"},
        {"name": "there", "type": "completeness", "field": "n"},
        steps=[clean],
        slice_rows=slice_rows,
    )
    assert [(rule["checked"], rule["failed"]) for rule in found.values()] == [(2, 1), (4, 1)]
    assert collected.rejected.num_rows == 1
    kept = [(json.loads(row["record"])["id"], row["rules"]) for row in collected.violations.to_pylist()]
    assert sorted(kept) == [(3, ["range"]), (5, ["there"])]


def test_a_rule_that_fails_lets_no_destination_publish(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,n\n1,5\n2,50\n")
    outs = [
        {"id": name, "input": step, "connector": form, "connection": {"path": f"{tmp_path / name}/"}, "write_mode": "append"}
        for name, step, form in (("a", "rows", "jsonl"), ("b", "few", "csv"), ("c", "rows", "parquet"))
    ]
    spec = {
        "name": "several",
        "source": {"name": "rows", "connector": "csv", "connection": {"path": str(tmp_path / "rows.csv")}},
        "transformations": [{"id": "few", "type": "filtering", "config": {"where": "n < 10"}}],
        "quality_rules": [
            {"name": "mean", "step": "few", "type": "statistics", "field": "n", "figure": "mean", "above": 5, "action": "fail"}
        ],
        "destinations": outs,
        "dead_letter": {"connector": "jsonl", "connection": {"path": str(tmp_path / "letters.jsonl")}},
    }
    run_id = new_run_id()
    result = run(build(loads(json.dumps(spec)), BuildOptions(run_id=run_id, threads=1)), RunRequest(run_id))
    assert result.status == "failed"
    assert isinstance(result.error, QualityFailed)
    assert "mean of n: 5, above 5 wanted" in result.error.reason
    assert not [path for name in "abc" for path in (tmp_path / name).glob("part-*")]


N = {"name": "n", "type": "statistics", "field": "n"}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({**N, "figure": "mean"}, "the figure has no limit"),
    ({**N, "min": 1}, "there is no figure"),
    ({**N, "figure": "mean", "field": "t", "min": 1}, "a mean is of numbers, and 't' is VARCHAR"),
    ({**N, "figure": "quantile", "min": 1}, "go together"),
    ({**N, "figure": "quantile", "quantile": 2, "min": 1}, "must be at most 1"),
    ({**N, "figure": "mean", "min": "many"}, "whose limit is a number"),
    ({**N, "contains": ["a"]}, "BIGINT"),
    ({**N, "contains": [1], "min": 1}, "there is none"),
    ({**N, "figure": "max", "min": 1, "action": "reject"}, "judges the table as a whole"),
    ({"name": "v", "type": "validity", "field": "n", "min": 5, "max": 1}, "no value is at least 5 and at most 1"),
    ({"name": "v", "type": "validity", "field": "n", "like": "a%"}, "a pattern is for text"),
    ({"name": "v", "type": "validity", "field": "t", "like": []}, "there is no pattern"),
    ({"name": "v", "type": "validity", "field": "t", "time_format": "%Q"}, "no format of dates or times"),
    ({"name": "v", "type": "validity", "field": "t", "not_in": []}, "any value would meet it"),
    ({"name": "v", "type": "validity", "field": "t", "min_length": 1, "where": "t > date '2025-01-01'"}, "cannot compare"),
    ({"name": "v", "type": "validity", "field": "t", "pattern": "(?=a)b"}, "invalid perl operator"),
    ({"name": "s", "type": "schema"}, "there is no column"),
]


@pytest.mark.parametrize(("rule", "words"), WRONG, ids=[words for _, words in WRONG])
def test_what_is_wrong_is_told_before_anything_runs(rule: dict[str, Any], words: str) -> None:
    rows = pa.table({"n": [1, 2], "t": ["a", "b"]})
    with pytest.raises(DataHubError) as caught:
        looked(rows, rule)
    errors = caught.value.errors if isinstance(caught.value, ErrorGroup) else (caught.value,)
    assert any(words in f"{error} {error.hint}" for error in errors), errors
