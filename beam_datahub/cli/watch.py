"""Live progress of a run on a terminal: records read, written and rejected, and records a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from beam_datahub.compiler.plan import Plan


@contextmanager
def progress(console: Console, plan: Plan) -> Iterator[Callable[[], None] | None]:
    """A function to call while the run goes on; None where nobody looks, because it is no terminal."""
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    written = {node.id for node in plan.writes()}
    total = _expected(plan)
    bar = BarColumn(bar_width=24)
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), bar, console=console, transient=True) as live:
        task = live.add_task("starting", total=total)
        started = time.monotonic()

        def update() -> None:
            read, wrote, rejected = counts(written)
            text = line(read, wrote, rejected, time.monotonic() - started)
            live.update(task, description=text.markup, completed=min(read, total) if total else 0)

        yield update


def _expected(plan: Plan) -> int | None:
    """How many records the sources estimate; None where one does not know."""
    rows = [getattr(node.operator, "estimated_rows", None) for node in plan.reads()]
    known = [count for count in rows if count is not None]
    return sum(known) if known and len(known) == len(rows) else None


def counts(written: set[str]) -> tuple[int, int, int]:
    """Records read, written and rejected up to now."""
    from beam_datahub.component.progress import PROGRESS

    read = wrote = rejected = 0
    for (step, term), count in PROGRESS.snapshot().items():
        if term == "read":
            read += count
        elif term == "rejected":
            rejected += count
        elif term == "in" and step in written and step != "dead_letter":
            wrote += count
    return read, wrote, rejected


def line(read: int, wrote: int, rejected: int, seconds: float) -> Text:
    """The counts as one line."""
    from rich.text import Text

    text = Text(f"{read:,} read · {wrote:,} written · ")
    text.append(f"{rejected:,} rejected", style="yellow" if rejected else "")
    return text.append(f" · {read / max(seconds, 0.001):,.0f} rows/s · {seconds:.0f} s")
