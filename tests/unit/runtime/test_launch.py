"""Runs of one process do not disturb each other, publish nothing that is not whole, and leave nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.compiler import dofns, shuffle
from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.component.coder import BatchStore
from beam_datahub.errors import BooksUnbalanced, SchemaDrift, StepFailed
from beam_datahub.io.jsonl import JsonlSink
from beam_datahub.runtime.collect import collect
from beam_datahub.runtime.launch import RunRequest, run
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import loads

SPEC = """\
name: sums
source: {name: orders, connector: inline, connection: {}, rows: []}
transformations:
  - {id: some, type: filtering, config: {where: "n > 0"}}
  - {id: step, type: aggregation, config: {by: [k], measures: {total: sum(n)}}}
destinations:
  - {id: out, connector: jsonl, connection: {path: %s}}
"""


def orders(first: int = 0) -> RowsSource:
    return RowsSource(pa.table({"k": [f"k{i % 3}" for i in range(60)], "n": list(range(first, first + 60))}), slice_rows=7)


def sums(source: RowsSource, path: str = "out.jsonl") -> Any:
    return build(loads(SPEC % path), BuildOptions(run_id=new_run_id(), sources={"orders": source}, outputs=path != "out.jsonl"))


def test_two_runs_at_the_same_time_both_give_their_own_rows() -> None:
    def total(first: int) -> int:
        table = collect(sums(orders(first)), {"step": "step"}).tables["step"]
        return sum(table["total"].to_pylist())

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(total, [0, 1000, 2000, 3000])) == [sum(range(f, f + 60)) for f in (0, 1000, 2000, 3000)]
    assert BatchStore.active is None


@pytest.mark.parametrize("lossy", ["stage", "split"])
def test_a_lost_batch_is_found_and_nothing_is_published(lossy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped: list[Any] = []

    def once(method: Any) -> Any:
        def call(self, batch):  # type: ignore[no-untyped-def]  # Beam reads the hints
            if not dropped:
                dropped.append(batch)
                return iter(())
            return method(self, batch)

        return call

    if lossy == "split":
        monkeypatch.setattr(shuffle.SplitByKey, "process", once(shuffle.SplitByKey.process))
    else:
        whole = dofns.RunStage._run

        def some(self: Any, *args: Any, **named: Any) -> Iterator[Any]:
            for number, item in enumerate(whole(self, *args, **named)):
                if number or dropped:
                    yield item
                else:
                    dropped.append(item)

        monkeypatch.setattr(dofns.RunStage, "_run", some)
    target = tmp_path / "out.jsonl"
    found = run(sums(orders(), str(target)), RunRequest(new_run_id()))
    assert dropped
    assert isinstance(found.error, BooksUnbalanced)
    assert found.status == "failed"
    assert not target.exists()


@pytest.mark.parametrize("journal", [None, "journal"])
def test_destinations_are_told_whether_anybody_else_may_publish(
    journal: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bool] = []

    def noted(method: Any) -> Any:
        def call(self: Any, request: Any, *others: Any) -> Any:
            told.append(request.stays)
            return method(self, request, *others)

        return call

    for name in ("open", "commit"):
        monkeypatch.setattr(JsonlSink, name, noted(getattr(JsonlSink, name)))
    place = str(tmp_path / journal) if journal is not None else None
    run(sums(orders(), str(tmp_path / "out.jsonl")), RunRequest(new_run_id(), journal=place))
    assert len(told) >= 2
    assert set(told) == {journal is None}


class Failing(RowsSource):
    """Breaks after its first block."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(orders()._table, slice_rows=7)
        self._error = error

    def read(self, split: Any, request: Any) -> Iterator[Any]:
        for number, block in enumerate(super().read(split, request)):
            if number:
                raise self._error
            yield block


def test_a_run_that_fails_leaves_no_thread_no_store_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    collect(sums(orders()), {"step": "step"})
    before = kernel_threads()
    with pytest.raises(SchemaDrift, match="a column is gone") as caught:
        run(sums(Failing(SchemaDrift("a column is gone", hint="look")), str(tmp_path / "out.jsonl")), RunRequest(new_run_id()))
    assert caught.value.hint == "look"
    assert kernel_threads() == before
    assert BatchStore.active is None
    assert not (tmp_path / "out.jsonl").exists()
    assert list((tmp_path / "temporary").iterdir()) == []


def kernel_threads() -> Sequence[str]:
    return [thread.name for thread in threading.enumerate() if "_run" in thread.name or "pipeline" in thread.name]


def test_an_aggregate_that_overflows_names_its_step() -> None:
    from decimal import Decimal

    table = pa.table({"k": ["a", "a"], "n": pa.array([Decimal("9" * 38)] * 2, pa.decimal128(38, 0))})
    with pytest.raises(StepFailed, match="step 'step' broke"):
        collect(sums(RowsSource(table)), {"step": "step"})
