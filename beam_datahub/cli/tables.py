"""Tables for a terminal: rows of data, and what a run did."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

# Values are cut to so many characters, so that one long text does not push the others out.
_WIDEST = 60


def simple(title: str | None, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> Table:
    """A table without a frame; `columns` are (heading, `left` or `right`)."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heading = Text(title, style="bold") if title else None
    table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, side in columns:
        table.add_column(Text(name), justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def data(table: pa.Table, rows: int) -> Table:
    """The first rows of `table`, each column under its name and SQL type; a null is an empty, dim `null`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from beam_datahub.kernels.types import is_hidden, sql_type

    fields = [field for field in table.schema if not is_hidden(field.name)]
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for field in fields:
        kind = sql_type(field.type)
        heading = Text(field.name, style="bold").append(f"\n{_cut(kind, 24)}", style="dim")
        shown.add_column(heading, justify="right" if _is_number(kind) else "left", overflow="fold")
    for row in table.slice(0, rows).to_pylist():
        shown.add_row(*(_cell(row[field.name]) for field in fields))
    return shown


def print_data(console: Console, table: pa.Table, rows: int) -> None:
    """Print the first rows of `table`; where the columns do not fit side by side, each row stands below the other."""
    from rich.measure import Measurement
    from rich.text import Text

    shown = data(table, rows)
    if Measurement.get(console, console.options.update(max_width=10_000), shown).maximum <= console.width:
        console.print(shown)
        return
    names = [name for name in table.schema.names if not name.startswith("__dh_")]
    widest = max(len(name) for name in names)
    for number, row in enumerate(table.slice(0, rows).to_pylist(), start=1):
        console.print(Text(f"row {number}", style="bold"))
        for name in names:
            console.print(
                Text(f"  {name:<{widest}}  ", style="dim").append_text(_cell(row[name])), no_wrap=True, overflow="ellipsis"
            )


def _is_number(kind: str) -> bool:
    return kind.startswith(("DECIMAL", "DOUBLE", "FLOAT")) or kind.endswith("INT") or kind == "INTEGER"


def _cell(value: Any) -> Text:
    from rich.text import Text

    if value is None:
        return Text("null", style="dim italic")
    return Text(_cut(_text(value), _WIDEST))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value).replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def size(count: int) -> str:
    """A number of bytes as a person reads it."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} B"


def duration(seconds: float) -> str:
    """A time as a person reads it."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
