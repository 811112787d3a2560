"""What a profile says, as a JSON object for people, reports and the store."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from beam_datahub.kernels.profiling.column import NUMBERS, TIMES, ColumnProfile
from beam_datahub.kernels.profiling.profile import Profile
from beam_datahub.kernels.profiling.sketches import Frequent, Ranks

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 16
_TOP = 10
# What shows values of the data itself.
_VALUES = ("min", "max", "quantiles", "histogram", "top", "top_error")
_MICROSECONDS = ("time", "timestamp", "timestamptz")
# Doubles hold whole numbers exactly up to here.
_EXACT = 2**53
# So many of the most frequent patterns must cover this share of the texts; else their shapes say more.
_PATTERNS, _COVERED = 5, 0.8


def summarise(profile: Profile, *, values: bool = True, private: Collection[str] = ()) -> dict[str, Any]:
    """The profile in plain JSON values. Without `values` it shows none of the data's own: no extremes, quantiles or top values;
    nor does it of `private` columns.

    `distinct` is approximate where `distinct_exact` is false; a top value's count may be short by `top_error`. The deviation of
    dates is in days, of times in seconds.
    """
    return {
        "rows": profile.rows,
        "columns": {path: _column(each, values and path not in private) for path, each in profile.columns.items()},
    }


def _column(column: ColumnProfile, values: bool) -> dict[str, Any]:
    present = column.rows - column.nulls
    found: dict[str, Any] = {
        "type": column.type,
        "kind": column.kind,
        "rows": column.rows,
        "nulls": column.nulls,
        "null_ratio": column.nulls / column.rows if column.rows else None,
    }
    if column.kind != "list":
        low, high = column.distinct.bounds()
        found |= {
            "distinct": min(round(column.distinct.estimate()), present),
            "distinct_exact": column.distinct.exact,
            "distinct_bounds": [round(low), min(round(high), present)],
        }
    if column.kind in NUMBERS or column.kind in TIMES:
        found |= _spread(column)
    if column.kind == "boolean":
        found |= {"true": column.true, "true_ratio": column.true / present if present else None}
    if column.lengths.least is not None:
        found["lengths"] = _lengths(column)
    if column.kind in ("text", "json", "other"):
        found |= {"min": column.least, "max": column.most}
    if column.kind not in ("boolean", "list", "binary"):
        found |= {"top": _top(column.frequent, _TOP), "top_error": column.frequent.error}
    if column.kind == "text":
        found["patterns"] = _patterns(column, present)
    return found if values else {name: each for name, each in found.items() if name not in _VALUES}


def _spread(column: ColumnProfile) -> dict[str, Any]:
    shown = column.kind
    quantiles = column.ranks.quantiles(list(QUANTILES))
    deviation = column.moments.deviation
    if deviation is not None and shown in _MICROSECONDS:
        deviation /= 1e6
    found: dict[str, Any] = {
        "min": render(shown, column.least),
        "max": render(shown, column.most),
        "mean": _mean(column),
        "deviation": deviation,
        "quantiles": None
        if quantiles is None
        else {f"{share:g}": render(shown, _within(each, column)) for share, each in zip(QUANTILES, quantiles, strict=True)},
        "histogram": histogram(column.ranks, shown),
    }
    if column.kind in NUMBERS:
        found |= {"zeros": column.zeros, "negative": column.negative}
    if column.kind == "float":
        found |= {"nans": column.nans, "infinite": column.infinite}
    return found


def _within(value: float, column: ColumnProfile) -> Any:
    """A quantile, which as a double may lie a little beyond the largest whole number."""
    if column.kind == "integer" and abs(value) > _EXACT:
        return min(max(int(value), column.least), column.most)
    return value


def _mean(column: ColumnProfile) -> Any:
    if not column.moments.count:
        return None
    mean = _finite(column.moments.mean)
    return mean if mean is None or column.kind in NUMBERS else render(column.kind, mean)


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _lengths(column: ColumnProfile) -> dict[str, Any]:
    lengths = column.lengths
    return {
        "min": lengths.least,
        "max": lengths.most,
        "mean": lengths.moments.mean,
        "empty": lengths.empty,
        "histogram": histogram(lengths.ranks, "integer"),
    }


def _top(frequent: Frequent, most: int) -> list[dict[str, Any]]:
    return [{"value": value, "count": count} for value, count in frequent.top(most)]


def _patterns(column: ColumnProfile, present: int) -> dict[str, Any]:
    exact = column.patterns.top(_PATTERNS)
    if sum(count for _, count in exact) >= _COVERED * present:
        return {"of": "characters", "top": [{"pattern": each, "count": count} for each, count in exact]}
    shapes = column.shapes.top(_PATTERNS)
    return {"of": "runs", "top": [{"pattern": each, "count": count} for each, count in shapes]}


def histogram(ranks: Ranks, kind: str, bins: int = BINS) -> dict[str, Any] | None:
    """Shares of the numbers in bins of equal width between the smallest and the largest that the sketch holds.

    Where a few outliers would leave all the others in one bin, the outer bins hold them: `clipped` is then true.
    """
    values, weights = ranks.weighted()
    if not len(values):
        return None
    low, high = float(values[0]), float(values[-1])
    upto = np.cumsum(weights) / weights.sum()
    inner_low = float(values[int(np.searchsorted(upto, 0.01))])
    inner_high = float(values[min(int(np.searchsorted(upto, 0.99)), len(values) - 1)])
    with np.errstate(all="ignore"):
        clipped = inner_high > inner_low and (high - low) > 3 * (inner_high - inner_low)
        if clipped:
            low, high = inner_low, inner_high
        if kind in ("integer", "date") and high - low < bins and max(abs(low), abs(high)) < _EXACT:
            edges = np.arange(low, high + 2)  # a bin for each number
        else:
            edges = np.linspace(low, high, bins + 1) if high > low else np.array([low, low])
    if not np.isfinite(edges).all():
        return None
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    sums = np.bincount(places, weights=weights, minlength=len(edges) - 1)
    shares = [round(float(each), 6) for each in sums / sums.sum()]
    return {"edges": [render(kind, float(edge)) for edge in edges], "shares": shares, "clipped": bool(clipped)}


def render(kind: str, value: Any) -> Any:
    """A plain number of a column as people write it: dates and times as ISO texts, decimals as texts, numbers as they are."""
    if value is None:
        return None
    if kind in TIMES:
        return _time(kind, round(value))
    if kind == "decimal":
        return str(value) if not isinstance(value, float) else value
    if isinstance(value, float) and not np.isfinite(value):
        return repr(value)
    return int(value) if kind == "integer" and float(value).is_integer() else value


def _time(kind: str, value: int) -> str:
    if kind == "date":
        return str(np.datetime64(value, "D"))
    if kind == "time":
        seconds, micro = divmod(value, 1_000_000)
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (f".{micro:06}" if micro else "")
    text = str(np.datetime64(value, "us")).replace("T", " ").removesuffix(".000000")
    return text + "Z" if kind == "timestamptz" else text
