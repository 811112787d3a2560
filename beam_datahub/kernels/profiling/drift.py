"""Compares a profile with those of earlier runs: what has changed by more than chance, habit and the user's limits explain.

A difference counts when it is larger than its limit, larger than the earlier runs differ from each other, and larger than
samples of one distribution would differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from beam_datahub.kernels.profiling.column import NUMBERS, TIMES, ColumnProfile
from beam_datahub.kernels.profiling.profile import Profile
from beam_datahub.kernels.profiling.sketches import Ranks

# What differs by no more than so much of what earlier runs did among themselves is their habit.
_HABIT = 1.5
# How many standard errors are beyond chance: about one in two million, for there are many columns and many runs.
_BEYOND_CHANCE = 5.0
# So much of what is beyond chance is what most runs do by chance; twice that much they seldom do.
_LIKELY_CHANCE = 2 / _BEYOND_CHANCE
_BINS = 10
# Of fewer values than this, a frequent one that comes or goes may be chance, and so may a mean.
_LEAST_SEEN = 10
_TOP = 200
_OUTLIER = 5.0 * 1.4826


@dataclass(frozen=True)
class DriftLimits:
    """From where on a difference counts; as the spec's `profile.drift` explains them."""

    runs: int = 3
    window: int = 10
    null_ratio: float = 0.05
    distribution: float = 0.25
    mean: float = 0.5
    distinct: float = 2.0
    values: float = 0.05
    volume: float = 0.3
    severity: str = "medium"


@dataclass(frozen=True)
class Deviation:
    """What has changed. `kind` is drift or volume; `column` is empty for the rows as a whole."""

    kind: str
    column: str
    measure: str
    message: str
    value: float
    limit: float
    details: Mapping[str, Any] = field(default_factory=dict)


def deviations(current: Profile, earlier: Sequence[Profile], limits: DriftLimits) -> list[Deviation]:
    """What differs from earlier runs (the newest first); nothing while there are too few of them."""
    earlier = earlier[: limits.window]
    if len(earlier) < limits.runs:
        return []
    found = _volume(current.rows, [each.rows for each in earlier], limits)
    for path, column in current.columns.items():
        past = [each.columns[path] for each in earlier if path in each.columns and each.columns[path].type == column.type]
        found += _type(path, column, earlier)
        past = [each for each in past if each.rows]
        if len(past) >= limits.runs and column.rows:
            found += [each for check in _CHECKS for each in check(path, column, past, limits)]
    return found


def _type(path: str, column: ColumnProfile, earlier: Sequence[Profile]) -> list[Deviation]:
    """Told once: the next run finds the new type in the newest one before it."""
    was = next((each.columns[path].type for each in earlier if path in each.columns), column.type)
    if was == column.type:
        return []
    return [Deviation("drift", path, "type", f"'{path}' is {column.type}, it was {was} in the run before", 1.0, 0.0)]


def _volume(rows: int, past: Sequence[int], limits: DriftLimits) -> list[Deviation]:
    middle = median(past)
    spread = _OUTLIER * median(abs(each - middle) for each in past)
    allowed = max(spread, limits.volume * middle, _BEYOND_CHANCE * math.sqrt(max(middle, 1)))
    is_void = not rows and min(past) >= _LEAST_SEEN
    # What two earlier runs had as well, as those of a weekend, is a habit.
    alike = sum(abs(each - rows) <= limits.volume * rows for each in past)
    if (abs(rows - middle) <= allowed or alike > 1) and not is_void:
        return []
    message = f"{rows:,} rows, where earlier runs had {middle:,.0f} (median of {len(past)})"
    return [Deviation("volume", "", "volume", message, rows, allowed, {"median": middle})]


def _shares(path: str, column: ColumnProfile, past: Sequence[ColumnProfile], limits: DriftLimits) -> list[Deviation]:
    found = _share(path, "null_ratio", "null", column, past, limits, lambda each: (each.nulls, each.rows))
    if column.kind == "boolean":
        found += _share(path, "true_ratio", "true", column, past, limits, lambda each: (each.true, each.rows - each.nulls))
    return found


def _share(
    path: str,
    measure: str,
    word: str,
    column: ColumnProfile,
    past: Sequence[ColumnProfile],
    limits: DriftLimits,
    counts: Callable[[ColumnProfile], tuple[int, int]],
) -> list[Deviation]:
    hits, total = counts(column)
    before = [counts(each) for each in past]
    all_before = sum(each[1] for each in before)
    if not total or not all_before:
        return []
    share, usual = hits / total, sum(each[0] for each in before) / all_before
    pooled = (hits + usual * all_before) / (total + all_before)
    chance = _BEYOND_CHANCE * math.sqrt(max(pooled * (1 - pooled), 0) * (1 / total + 1 / all_before))
    habit = max((abs(each[0] / each[1] - usual) for each in before if each[1]), default=0.0)
    limit = max(limits.null_ratio, _HABIT * habit, chance)
    if abs(share - usual) <= limit:
        return []
    message = f"{share:.1%} of '{path}' are {word}, {usual:.1%} in earlier runs"
    return [Deviation("drift", path, measure, message, share, limit, {"usual": usual})]


def _distribution(path: str, column: ColumnProfile, past: Sequence[ColumnProfile], limits: DriftLimits) -> list[Deviation]:
    if column.kind == "text":
        lengths = [each.lengths.ranks for each in past]
        return _moved(path, "lengths", f"the lengths of '{path}'", column.lengths.ranks, lengths, limits)
    if column.kind not in NUMBERS and column.kind not in TIMES:
        return []
    ranks = [each.ranks for each in past]
    found = _moved(path, "distribution", f"the values of '{path}'", column.ranks, ranks, limits)
    return found if _moves_on(ranks, limits) else found + _mean(path, column, past, limits)


def _moved(path: str, measure: str, words: str, ranks: Ranks, past: Sequence[Ranks], limits: DriftLimits) -> list[Deviation]:
    if not _size(ranks) or not all(map(_size, past)) or _moves_on(past, limits):
        return []
    value, error = _stability(ranks, past)
    limit = max(limits.distribution, _HABIT * max(_habits(past))) + error
    if value <= limit:
        return []
    message = f"{words} lie elsewhere: the stability index is {value:.2f}, {limit:.2f} is allowed"
    return [Deviation("drift", path, measure, message, value, limit)]


def _moves_on(past: Sequence[Ranks], limits: DriftLimits) -> bool:
    """Whether most runs differ from the others, as numbers that count up and dates of loading do."""
    return all(map(_size, past)) and median(_habits(past, _LIKELY_CHANCE)) > limits.distribution


def _habits(past: Sequence[Ranks], chance: float = 1.0) -> list[float]:
    """How far each run is from the others, beyond what chance explains, or so much of that."""
    found = []
    for i, each in enumerate(past):
        value, error = _stability(each, [*past[:i], *past[i + 1 :]])
        found.append(max(value - chance * error, 0.0))
    return found


def _size(ranks: Ranks) -> float:
    return float(ranks.weighted()[1].sum())


def _stability(ranks: Ranks, past: Sequence[Ranks]) -> tuple[float, float]:
    """The population stability index against the others together, and how large chance may make it."""
    usual = Ranks()
    for each in past:
        usual.merge(each)
    edges = np.unique(usual.quantiles([i / _BINS for i in range(1, _BINS)]) or [])
    if len(edges) and edges[0] == usual.weighted()[0][0]:
        # Nothing lies below the first edge: what does now is told apart from what equals it.
        edges = np.concatenate([[np.nextafter(edges[0], -np.inf)], edges])
    count, before = _size(ranks), _size(usual)
    # Half a value more in each bin: one that is empty by chance does not make the index infinite.
    now = _bins(ranks, edges, count)
    then = _bins(usual, edges, before)
    value = float(((now - then) * np.log(now / then)).sum())
    return value, _BEYOND_CHANCE * (len(edges) + 1) * (1 / count + 1 / before)


def _bins(ranks: Ranks, edges: Any, count: float) -> Any:
    shares = np.diff(np.concatenate([[0.0], ranks.shares_below(edges), [1.0]]))
    return (shares * count + 0.5) / (count + 0.5 * len(shares))


def _mean(path: str, column: ColumnProfile, past: Sequence[ColumnProfile], limits: DriftLimits) -> list[Deviation]:
    moments = [each.moments for each in past if each.moments.count]
    deviation = median(each.deviation or 0.0 for each in moments) if moments else 0.0
    few = min((each.count for each in [column.moments, *moments]), default=0) < _LEAST_SEEN
    if few or not deviation or not math.isfinite(column.moments.mean):
        return []
    usual = median(each.mean for each in moments)
    steps = [abs(each.mean - usual) / deviation for each in moments]
    chance = _BEYOND_CHANCE * math.sqrt(1 / column.moments.count + 1 / min(each.count for each in moments))
    if median(steps) > max(limits.mean, chance):
        return []  # it moves with every run
    limit = max(limits.mean, _HABIT * max(steps), chance)
    value = abs(column.moments.mean - usual) / max(deviation, column.moments.deviation or 0.0)
    if value <= limit:
        return []
    message = f"the mean of '{path}' has moved by {value:.1f} standard deviations, {limit:.1f} are allowed"
    return [Deviation("drift", path, "mean", message, value, limit)]


def _distinct(path: str, column: ColumnProfile, past: Sequence[ColumnProfile], limits: DriftLimits) -> list[Deviation]:
    present = column.rows - column.nulls
    before = [(each.distinct.estimate(), each.rows - each.nulls) for each in past]
    before = [each for each in before if each[1]]
    if column.kind == "list" or not present or len(before) < limits.runs:
        return []
    middle = median(rows for _, rows in before)
    if not middle / 2 <= present <= middle * 2:
        return []  # more rows have more distinct values; that there are more is told already
    count = column.distinct.estimate()
    low, high = min(each for each, _ in before), max(each for each, _ in before)
    far = _BEYOND_CHANCE * math.sqrt(max(high, 1))
    if low / limits.distinct - far <= count <= high * limits.distinct + far:
        return []
    message = f"'{path}' has {count:,.0f} distinct values, earlier runs had {low:,.0f} to {high:,.0f}"
    return [Deviation("drift", path, "distinct", message, count, limits.distinct)]


def _values(path: str, column: ColumnProfile, past: Sequence[ColumnProfile], limits: DriftLimits) -> list[Deviation]:
    present = column.rows - column.nulls
    if column.kind not in ("text", "integer") or not present:
        return []
    seen = [(dict(each.frequent.top(_TOP)), each.rows - each.nulls, each.frequent.error) for each in past]
    seen = [each for each in seen if each[1]]
    if len(seen) < limits.runs or any(error > limits.values / 2 * rows for _, rows, error in seen):
        return []
    now = dict(column.frequent.top(_TOP))
    # Where a run had a frequent value that no other one has, as a date of loading, new ones are its habit.
    for i, (values, rows, _) in enumerate(seen):
        others = set[str]().union(*(each[0] for j, each in enumerate(seen) if j != i))
        if any(count >= max(limits.values * rows, _LEAST_SEEN) and value not in others for value, count in values.items()):
            return []
    known = set[str]().union(*(each[0] for each in seen))
    found = []
    for value, count in now.items():
        if count >= max(limits.values * present, _LEAST_SEEN) and value not in known:
            message = f"'{path}' has the new value '{value}' in {count / present:.1%} of its rows"
            found.append(Deviation("drift", path, "new_value", message, count / present, limits.values, {"value": value}))
    gone = set.intersection(*(set(each[0]) for each in seen)) - set(now)
    for value in sorted(gone):
        least = min(values[value] / rows for values, rows, _ in seen)
        if least >= limits.values and least * present >= 2 * _LEAST_SEEN and column.frequent.error < least * present / 2:
            message = f"'{path}' lacks the value '{value}', which {least:.1%} of earlier rows or more had"
            found.append(Deviation("drift", path, "missing_value", message, 0.0, limits.values, {"value": value}))
    return found


_CHECKS = (_shares, _distribution, _distinct, _values)
