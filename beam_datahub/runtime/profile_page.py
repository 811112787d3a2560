"""Profiles as HTML: the part of a run's page, and a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from itertools import pairwise
from typing import Any

from beam_datahub.kernels.profiling.words import distinct_words, facts, percent

_WIDTH, _HEIGHT, _GAP = 160.0, 48.0, 1.0
_STYLE = """\
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 0 auto; padding: 2rem 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .45rem .8rem; vertical-align: top;
border-top: 1px solid #8884; } td.n, th.n { text-align: right; } td { overflow-wrap: anywhere; } .soft { opacity: .7; }
svg { display: block; }"""


def profiles_html(profiles: Mapping[str, Mapping[str, Any]], deviations: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """A table with histograms for each summarised profile, under what differs from earlier runs; all from data is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("beam_datahub.runtime") / "profiles.html").read_text("utf-8"))
    compared = deviations or {}
    shown = [
        (name, summary, compared.get(name), [_column(path, each) for path, each in summary["columns"].items()])
        for name, summary in profiles.items()
    ]
    return template.render(profiles=shown)


def profile_page(title: str, profiles: Mapping[str, Mapping[str, Any]]) -> str:
    """A page that needs nothing else."""
    from html import escape

    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    head = f'<meta charset="utf-8">{policy}<title>{escape(title)}</title><style>{_STYLE}</style>'
    body = f"<h1>{escape(title)}</h1>{profiles_html(profiles)}"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _column(path: str, column: Mapping[str, Any]) -> dict[str, Any]:
    bars, of = _bars(column)
    return {
        "name": path,
        "type": column["type"],
        "nulls": "·" if column["null_ratio"] is None else percent(column["null_ratio"]),
        "distinct": distinct_words(column),
        "bars": bars,
        "of": of,
        "facts": [(label, words) for label, words in facts(column) if label not in ("values", "distinct")],
    }


def _bars(column: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The bars of a column's histogram, or of its frequent values, and what they show."""
    present = column["rows"] - column["nulls"]
    histogram, of = column.get("histogram"), ""
    if histogram is None and column.get("top") and present:
        shares = [each["count"] / present for each in column["top"]]
        labels = [str(each["value"]) for each in column["top"]]
        of = "frequent values"
    else:
        if histogram is None:
            histogram, of = (column.get("lengths") or {}).get("histogram"), "lengths"
        if histogram is None:
            return [], ""
        shares, edges = histogram["shares"], histogram["edges"]
        labels = [f"{low} to {high}" for low, high in pairwise(edges)]
    most = max(shares, default=0) or 1
    width = _WIDTH / len(shares)
    bars = [
        {
            "x": i * width,
            "width": max(width - _GAP, _GAP),
            "height": _HEIGHT * share / most,
            "title": f"{label}: {percent(share)}",
        }
        for i, (share, label) in enumerate(zip(shares, labels, strict=True))
    ]
    return bars, of
