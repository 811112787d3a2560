"""Bad rows leave a stage with their reason, good ones go on, whatever stands between them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.compiler.plan import Stage
from beam_datahub.compiler.stage import StageRunner
from beam_datahub.component.operators import Column, Rows
from beam_datahub.errors import DataHubError
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.session import KernelSession
from beam_datahub.testing import StepRun, run_step

ROWS: list[dict[str, Any]] = [
    {"id": 1, "amount": "10", "part": 1},
    {"id": 2, "amount": "ten", "part": 0},
    {"id": 3, "amount": None, "part": 2},
    {"id": 4, "amount": "40", "part": 4},
]


def mapping(fields: dict[str, Any], **config: Any) -> StepRun:
    return run_step("mapping", {"fields": fields, **config}, {"orders": ROWS})


def test_a_row_that_fails_is_rejected_and_no_other() -> None:
    found = mapping({"id": "id", "amount": "cast(amount as integer)"})
    assert found.rows == [{"id": 1, "amount": 10}, {"id": 3, "amount": None}, {"id": 4, "amount": 40}]
    (refused,) = found.rejected
    assert (refused["step"], refused["reason"], refused["column"], refused["row"]) == ("step", "expression_failed", "amount", 1)
    assert "amount = ten" in refused["message"]
    assert refused["original"] == '{"id":2,"amount":"ten","part":0}'


def test_a_failed_cast_has_its_own_reason() -> None:
    (refused,) = mapping({"amount": "amount"}, types={"amount": "integer"}).rejected
    assert (refused["reason"], refused["column"]) == ("cast_failed", "amount")


def test_a_row_is_refused_also_when_nobody_reads_the_column_that_fails() -> None:
    chain = [
        {
            "id": "typed",
            "type": "mapping",
            "input": "orders",
            "config": {"fields": {"id": "id", "amount": "cast(amount as integer)"}},
        },
        {"id": "step", "type": "mapping", "config": {"fields": {"id": "id"}}},
    ]
    found = run_chain(chain)
    assert [row["id"] for row in found["rows"]] == [1, 3, 4]
    assert [record["step"] for record in found["rejected"]] == ["typed"]


def test_a_filter_behind_a_step_does_not_hide_what_that_step_refuses() -> None:
    chain = [
        {
            "id": "typed",
            "type": "mapping",
            "input": "orders",
            "config": {"keep": "all", "fields": {"n": "cast(amount as integer)"}},
        },
        {"id": "step", "type": "filtering", "config": {"where": "id <> 2"}},
    ]
    found = run_chain(chain)
    assert [row["id"] for row in found["rows"]] == [1, 3, 4]
    assert [record["step"] for record in found["rejected"]] == ["typed"]


def test_a_filter_before_a_step_spares_it_the_rows_that_it_drops() -> None:
    chain = [
        {"id": "some", "type": "filtering", "input": "orders", "config": {"where": "id <> 2"}},
        {"id": "step", "type": "mapping", "config": {"fields": {"n": "cast(amount as integer)"}}},
    ]
    found = run_chain(chain)
    assert [row["n"] for row in found["rows"]] == [10, None, 40]
    assert found["rejected"] == []


def test_a_condition_stops_at_the_first_part_that_decides() -> None:
    found = run_step("filtering", {"where": "id <> 2 and cast(amount as integer) > 20"}, {"orders": ROWS})
    assert [row["id"] for row in found.rows] == [4]
    assert found.rejected == []
    found = run_step("filtering", {"where": "cast(amount as integer) > 20 and id <> 2"}, {"orders": ROWS})
    assert [row["id"] for row in found.rows] == [4]
    assert [record["row"] for record in found.rejected] == [1]


def test_rejects_behind_a_fork_still_know_their_row() -> None:
    chain = [
        {"id": "some", "type": "filtering", "input": "orders", "config": {"where": "id > 1"}},
        {"id": "step", "type": "mapping", "input": "some", "config": {"fields": {"n": "cast(amount as integer)"}}},
        {"id": "other", "type": "mapping", "input": "some", "config": {"fields": {"id": "id"}}},
    ]
    found = run_chain(chain, outputs=("step", "other"))
    (refused,) = found["rejected"]
    assert (refused["step"], refused["source"], refused["row"]) == ("step", "orders", 1)


@pytest.mark.parametrize("slice_rows", [1, 2, None])
def test_the_books_tell_what_became_of_every_row(slice_rows: int | None) -> None:
    books = run_step("mapping", {"fields": {"n": "cast(amount as integer)"}}, {"orders": ROWS}, slice_rows=slice_rows).books
    assert books["orders"]["read"] == 4
    assert {term: count for term, count in books["step"].items() if count} == {"in": 4, "out": 3, "rejected": 1}


def test_an_unknown_engine_is_refused_with_a_guess() -> None:
    from beam_datahub.runtime.launch import RunRequest

    with pytest.raises(DataHubError, match="unknown engine 'drect'") as caught:
        run_step("filtering", {"where": "true"}, {"orders": ROWS}, request=RunRequest("r", engine="drect"))
    assert caught.value.hint == "did you mean 'direct'?"


def run_chain(steps: list[dict[str, Any]], outputs: tuple[str, ...] = ("step",)) -> dict[str, Any]:
    import json

    from beam_datahub.compiler.build import BuildOptions, build
    from beam_datahub.runtime.collect import collect
    from beam_datahub.runtime.rows import RowsSource
    from beam_datahub.spec import loads
    from beam_datahub.testing.steps import as_table

    spec = {
        "name": "chain",
        "source": {"name": "orders", "connector": "inline", "connection": {}, "rows": []},
        "transformations": steps,
        "destinations": [{"connector": "console", "connection": {}, "input": outputs[-1]}],
    }
    options = BuildOptions(sources={"orders": RowsSource(as_table(ROWS))}, outputs=False)
    found = collect(build(loads(json.dumps(spec)), options), {name: name for name in outputs})
    return {"rows": found.tables[outputs[0]].to_pylist(), "rejected": found.rejected.to_pylist()}


def test_a_stage_may_have_any_number_of_steps() -> None:
    schema = pa.schema([("n", pa.int64())])
    more = Rows((Column("n", Expression("n + 1", '"n" + 1', pa.int64(), ("n",))),))
    stage = Stage(tuple((f"s{i}", more) for i in range(1200)), schemas=(schema,) * 1201)
    with KernelSession(threads=1) as session:
        found = StageRunner(stage, track=False).run(pa.table({"n": [1]}), session)
    assert found.table["n"].to_pylist() == [1201]
