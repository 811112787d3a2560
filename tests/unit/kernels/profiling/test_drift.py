"""Drift: what changed is told, samples of one distribution and a column's habits are not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_datahub.kernels.profiling import Profile
from beam_datahub.kernels.profiling.drift import DriftLimits, deviations


def profile(table: pa.Table) -> Profile:
    found = Profile.of(table.schema)
    for batch in table.to_batches():
        found.add(batch)
    return found


def sample(seed: int, rows: int = 2000, **changes: object) -> Profile:
    random = np.random.default_rng(seed)
    columns: dict[str, object] = {
        "id": pa.array(np.arange(rows) + seed * 100_000),
        "amount": pa.array(random.lognormal(3, 1, rows)),
        "customer": pa.array(random.integers(0, 500, rows)),
        "status": pa.array(random.choice(["paid", "open", "returned"], rows, p=[0.7, 0.2, 0.1])),
        "note": pa.array(random.choice(["gift", "call first", None], rows, p=[0.4, 0.4, 0.2])),
        "loaded": pa.array([f"2025-01-{seed % 28 + 1:02}"] * rows),
        "paid": pa.array(random.random(rows) < 0.3),
        "constant": pa.array(np.full(rows, 3.5)),
        "sparse": pa.array(random.normal(size=rows), mask=random.random(rows) < 0.97),
        "wild": pa.array(random.standard_cauchy(rows)),
        "nothing": pa.array([None] * rows, pa.string()),
    }
    for name, change in changes.items():
        columns[name] = change(random, rows) if callable(change) else change
    return profile(pa.table(columns))


HISTORY = [sample(seed) for seed in range(6)]


def told(current: Profile, limits: DriftLimits | None = None) -> set[tuple[str, str]]:
    return {(each.column, each.measure) for each in deviations(current, HISTORY, limits or DriftLimits())}


@given(seed=st.integers(100, 1_000_000), sizes=st.lists(st.integers(20, 3000), min_size=4, max_size=8), varied=st.booleans())
@settings(max_examples=25, deadline=None)
def test_samples_of_one_distribution_raise_no_alarm(seed: int, sizes: list[int], varied: bool) -> None:
    if not varied:
        sizes = [sizes[0]] * len(sizes)
    runs = [sample(seed + number, rows) for number, rows in enumerate(sizes)]
    found = deviations(runs[0], runs[1:], DriftLimits())
    assert [each.message for each in found if each.kind == "drift"] == []
    if not varied:
        assert found == []


CHANGES = {
    ("note", "null_ratio"): {"note": lambda random, rows: pa.array(random.choice(["gift", None], rows))},
    ("paid", "true_ratio"): {"paid": lambda random, rows: pa.array(random.random(rows) < 0.6)},
    ("amount", "distribution"): {"amount": lambda random, rows: pa.array(random.lognormal(4, 1, rows))},
    ("amount", "mean"): {"amount": lambda random, rows: pa.array(random.lognormal(3, 1, rows) + 100)},
    ("customer", "distinct"): {"customer": lambda random, rows: pa.array(random.integers(0, 90, rows))},
    ("status", "new_value"): {"status": lambda random, rows: pa.array(random.choice(["paid", "open", "lost"], rows))},
    ("status", "missing_value"): {"status": lambda random, rows: pa.array(random.choice(["paid", "open"], rows))},
    ("constant", "distribution"): {"constant": lambda random, rows: pa.array(np.full(rows, 3.0))},
    ("nothing", "null_ratio"): {"nothing": lambda random, rows: pa.array(["something"] * rows)},
    ("wild", "null_ratio"): {"wild": lambda random, rows: pa.array([None] * rows, pa.float64())},
    ("status", "lengths"): {"status": lambda random, rows: pa.array(["PAID IN FULL BY CARD"] * rows)},
}


@pytest.mark.parametrize("expected", CHANGES, ids=lambda pair: "-".join(pair))
def test_a_change_is_told(expected: tuple[str, str]) -> None:
    found = told(sample(7, **CHANGES[expected]))
    assert expected in found
    assert {column for column, _ in found} == {expected[0]}


@pytest.mark.parametrize("rows", [0, 200, 9000])
def test_an_unusual_number_of_rows_is_told(rows: int) -> None:
    assert ("", "volume") in told(sample(7, rows))


def test_volumes_that_always_vary_are_a_habit() -> None:
    runs = [sample(seed, 1000 * (1 + seed % 5)) for seed in range(10)]
    assert deviations(sample(11, 6000), runs, DriftLimits()) == []


def test_nothing_is_told_before_there_are_enough_runs() -> None:
    assert deviations(sample(7, 0), HISTORY[:2], DriftLimits()) == []
    assert deviations(sample(7, 0), HISTORY[:2], DriftLimits(runs=2)) != []


def test_limits_decide() -> None:
    changed = sample(7, note=lambda random, rows: pa.array(random.choice(["gift", "call first", None], rows, p=[0.3, 0.3, 0.4])))
    assert ("note", "null_ratio") in told(changed)
    assert ("note", "null_ratio") not in told(changed, DriftLimits(null_ratio=0.3))


def test_profiles_without_values_still_show_drift_of_nulls() -> None:
    past = [each.without_values() for each in HISTORY]
    current = sample(7, note=lambda random, rows: pa.array([None] * rows, pa.string())).without_values()
    found = {(each.column, each.measure) for each in deviations(current, past, DriftLimits())}
    assert ("note", "null_ratio") in found


def test_a_column_of_another_type_is_told_once_and_not_compared() -> None:
    changed = sample(7, amount=lambda random, rows: pa.array(["x"] * rows))
    assert told(changed) == {("amount", "type")}
    again = sample(8, amount=lambda random, rows: pa.array(["x"] * rows))
    assert deviations(again, [changed, *HISTORY], DriftLimits()) == []


def test_a_new_column_has_nothing_to_be_compared_with() -> None:
    assert told(sample(7, channel=lambda random, rows: pa.array(["web"] * rows))) == set()


def test_runs_without_rows_are_told_for_their_volume_alone_and_may_become_a_habit() -> None:
    assert told(sample(7, 0)) == {("", "volume")}
    empty = [sample(seed, 0) for seed in range(4)]
    assert deviations(sample(7, 0), empty, DriftLimits()) == []
    assert deviations(sample(7, 0), [sample(8, 0), sample(9, 0), *HISTORY], DriftLimits()) == []
    assert {each.kind for each in deviations(sample(7, 500), empty, DriftLimits())} == {"volume"}


def test_volumes_that_earlier_runs_had_twice_are_a_habit() -> None:
    week = [sample(seed, 400 if seed % 7 > 4 else 2000) for seed in range(8)]
    assert deviations(sample(11, 410), week, DriftLimits()) == []
    assert {each.kind for each in deviations(sample(11, 900), week, DriftLimits())} == {"volume"}
