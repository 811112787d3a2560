"""A summarised column in words, for the terminal and for pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DETAIL_QUANTILES = ("0.05", "0.25", "0.5", "0.75", "0.95")
_ODD = (("zeros", "zero"), ("negative", "negative"), ("nans", "no number"), ("infinite", "infinite"))


def percent(ratio: float) -> str:
    """A share as a person reads it: never 0 % or 100 % where it is not that."""
    if 0 < ratio < 0.001:
        return "<0.1%"
    if 0.999 < ratio < 1:
        return ">99.9%"
    shown = f"{ratio * 100:.1f}" if ratio < 0.1 or ratio > 0.9 else f"{ratio * 100:.0f}"
    return f"{shown.removesuffix('.0')}%"


def distinct_words(column: Mapping[str, Any]) -> str:
    """How many distinct values a summarised column has."""
    if "distinct" not in column:
        return "·"
    count = column["distinct"]
    return f"{count:,}" if column["distinct_exact"] else f"~{about(count)}"


def about(count: float) -> str:
    """A large count with three digits: 4.32M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:,.0f}"


def values_words(column: Mapping[str, Any], room: int) -> str:
    """What the values of a summarised column are, in about `room` characters."""
    present = column["rows"] - column["nulls"]
    if not present:
        return ""
    if column.get("true_ratio") is not None:
        return f"true {percent(column['true_ratio'])}"
    if column["kind"] in ("text", "json", "other") and column.get("top"):
        shown = [f"{plain(each['value'])} {percent(each['count'] / present)}" for each in column["top"][:4]]
        if column["distinct"] == present and column["top"][0]["count"] == 1:
            shown = [plain(each["value"]) for each in column["top"][:4]]
        return ", ".join(shown)
    patterns = column.get("patterns", {}).get("top")
    if patterns and patterns[0]["pattern"] != "…":
        return f"such as {plain(patterns[0]['pattern'])}"
    if column.get("min") is not None:
        low, high = number(plain(column["min"])), number(plain(column["max"]))
        if column["kind"].startswith("timestamp") and len(low) + len(high) + 3 > room:
            low, high = low[:10], high[:10]
        return str(low) if low == high else f"{low} … {high}"
    lengths = column.get("lengths")
    if lengths:
        unit = {"list": "elements", "binary": "bytes"}.get(column["kind"], "characters")
        few = f"{lengths['min']:,} … " if lengths["min"] != lengths["max"] else ""
        return f"{few}{lengths['max']:,} {unit}"
    return "all are no number" if column.get("nans") else ""


def number(value: Any) -> str:
    """A number as a person reads it; a text as it is."""
    if value is None:
        return "·"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:,.6g}"
    return str(value)


def facts(column: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of a summarised column, as (label, words)."""
    found = [("values", f"{column['rows'] - column['nulls']:,} of {column['rows']:,}; {column['nulls']:,} null")]
    if "distinct" in column:
        low, high = column["distinct_bounds"]
        sure = "exact" if column["distinct_exact"] else f"approximate: {low:,} to {high:,}"
        found.append(("distinct", f"{column['distinct']:,} ({sure})"))
    if column.get("min") is not None:
        found.append(("range", f"{number(plain(column['min']))} … {number(plain(column['max']))}"))
    if column.get("mean") is not None:
        unit = {"date": " days", "time": " s", "timestamp": " s", "timestamptz": " s"}.get(column["kind"], "")
        deviation = f", deviation {number(column['deviation'])}{unit}" if column.get("deviation") is not None else ""
        found.append(("mean", number(column["mean"]) + deviation))
    if column.get("quantiles"):
        shown = [f"{float(share):.0%} {number(column['quantiles'][share])}" for share in _DETAIL_QUANTILES]
        found.append(("quantiles", ", ".join(shown)))
    counted = [(word, column.get(key)) for key, word in _ODD]
    if any(count for _, count in counted):
        found.append(("of these", ", ".join(f"{count:,} {word}" for word, count in counted if count)))
    lengths = column.get("lengths")
    if lengths:
        empty = f", {lengths['empty']:,} empty" if lengths["empty"] else ""
        found.append(("lengths", f"{lengths['min']:,} to {lengths['max']:,}, mean {number(lengths['mean'])}{empty}"))
    patterns = column.get("patterns", {}).get("top")
    if patterns:
        present = column["rows"] - column["nulls"]
        found.append(("patterns", ", ".join(f"{plain(e['pattern'])} {percent(e['count'] / present)}" for e in patterns)))
    return found


def plain(value: Any) -> Any:
    """A text on one line."""
    if not isinstance(value, str):
        return value
    shown = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in value)
    return shown if shown.strip() else f"'{shown}'"
