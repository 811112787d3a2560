"""Profiles on a terminal: one line a column with a sparkline, and the details of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from beam_datahub.kernels.profiling.words import distinct_words, facts, number, percent, plain, values_words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_BARS = "▁▂▃▄▅▆▇█"
# From this width on there is room for the mean and the median.
_WIDE = 110
_NAME, _TYPE = 20, 11


def print_profile(console: Console, title: str, summary: Mapping[str, Any], *, details: bool = False) -> None:
    """Print a summarised profile (`kernels.profiling.summary`) as a table, with the details of each column if wanted."""
    from rich.text import Text

    columns = summary["columns"]
    rows = f"{summary['rows']:,} row{'' if summary['rows'] == 1 else 's'}"
    head = Text(title, style="bold").append(
        f"  {rows}, {len(columns)} column{'' if len(columns) == 1 else 's'}", style="not bold dim"
    )
    console.print(head)
    console.print(_table(console, columns))
    if any(not each.get("distinct_exact", True) for each in columns.values()):
        console.print(Text("~ within 3 % (95 % confidence); quantiles and histograms within 1 % of the ranks", style="dim"))
    if details:
        for name, each in columns.items():
            console.print()
            _details(console, name, each)


def _table(console: Console, columns: Mapping[str, Mapping[str, Any]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    wide = console.width >= _WIDE
    cells = [_cells(name, each, wide) for name, each in columns.items()]
    headings = ["column", "type", "null", "distinct", *(["mean", "median"] if wide else []), "distribution"]
    widths = [max(len(heading), *(row[i].cell_len for row in cells), 0) for i, heading in enumerate(headings)]
    room = max(console.width - sum(widths) - 2 * len(widths), len("values"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading, width in zip(headings, widths, strict=True):
        right = heading in ("null", "distinct", "mean", "median")
        table.add_column(Text(heading), justify="right" if right else "left", no_wrap=True, width=width)
    table.add_column(Text("values"), no_wrap=True, overflow="ellipsis", width=room)
    for row, each in zip(cells, columns.values(), strict=True):
        table.add_row(*row, Text(values_words(each, room)))
    return table


def _cells(name: str, column: Mapping[str, Any], wide: bool) -> list[Text]:
    from rich.text import Text

    found = [
        Text(_short(name, 2 * _NAME if wide else _NAME)),
        Text(_short(column["type"], _TYPE), style="dim"),
        _nulls(column["null_ratio"]),
        Text(distinct_words(column)),
    ]
    if wide:
        median = (column.get("quantiles") or {}).get("0.5")
        found += [Text(_moment(column, column.get("mean"))), Text(_moment(column, median))]
    return [*found, Text(_spark(column, 16 if wide else 12), style="cyan")]


def _moment(column: Mapping[str, Any], value: Any) -> str:
    """A number, or a time to the minute."""
    return str(value)[:16] if isinstance(value, str) and column["kind"].startswith("timestamp") else number(value)


def _nulls(ratio: float | None) -> Text:
    from rich.text import Text

    if ratio is None:
        return Text("·", style="dim")
    return Text(percent(ratio), style="dim" if not ratio else "yellow" if ratio < 1 else "red")


def spark(shares: Sequence[float]) -> str:
    """Bars for shares, the largest full; a share that is not none shows."""
    most = max(shares, default=0)
    if not most:
        return ""
    return "".join(" " if not share else _BARS[min(int(share / most * len(_BARS)), len(_BARS) - 1)] for share in shares)


def _spark(column: Mapping[str, Any], most: int) -> str:
    if column.get("histogram"):
        return spark(_fewer(column["histogram"]["shares"], most))
    if column.get("true_ratio") is not None:
        full = round(column["true_ratio"] * most)
        return str("█" * full + "░" * (most - full))
    top = column.get("top") or []
    if top and column["rows"] > column["nulls"]:
        return spark([each["count"] for each in top[:most]])
    return spark(_fewer(column["lengths"]["histogram"]["shares"], most)) if column.get("lengths") else ""


def _fewer(shares: Sequence[float], most: int) -> Sequence[float]:
    """A histogram with at most so many bins: neighbours together where there are twice as many."""
    if len(shares) <= most:
        return shares
    return _fewer([sum(shares[start : start + 2]) for start in range(0, len(shares), 2)], most)


def _details(console: Console, name: str, column: Mapping[str, Any]) -> None:
    from rich.text import Text

    console.print(Text(name, style="bold").append(f"  {column['type']}", style="dim"), no_wrap=True, overflow="ellipsis")
    for label, words in facts(column):
        console.print(Text(f"  {label:<10}", style="dim").append(words, style="not dim"), no_wrap=True, overflow="ellipsis")
    present = column["rows"] - column["nulls"]
    top = (column.get("top") or []) if column["kind"] in ("text", "json", "other") or column.get("top_error") == 0 else []
    for each in top[:8] if column["distinct"] < present else []:
        share = each["count"] / present
        bar = "█" * round(share * 20)
        line = Text(f"  {bar:<20} {percent(share):>6}  ", style="cyan").append(plain(each["value"]), style="default")
        console.print(line, no_wrap=True, overflow="ellipsis")


def _short(text: str, most: int) -> str:
    """A name cut in its middle: the ends of long paths tell them apart."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"
