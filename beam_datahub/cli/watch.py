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
    from beam_datahub.runtime.standing import Standing


@contextmanager
def progress(console: Console, plan: Plan) -> Iterator[Callable[[], None] | None]:
    """A function to call while the run goes on; None where nobody looks, because it is no terminal."""
    from beam_datahub.runtime.standing import standing

    if not console.is_terminal:
        yield None
        return
    started = time.monotonic()
    with shown(console) as show:
        yield lambda: show(standing(plan), time.monotonic() - started)


@contextmanager
def shown(console: Console) -> Iterator[Callable[[Standing, float], None]]:
    """A function that shows how far a run is after so many seconds, on a terminal, in the place of what it showed before."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    bar = BarColumn(bar_width=24)
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), bar, console=console, transient=True) as live:
        task = live.add_task("starting", total=None)

        def show(now: Standing, seconds: float) -> None:
            done = min(now.read, now.expected) if now.expected else 0
            live.update(task, description=line(now, seconds).markup, total=now.expected, completed=done)

        yield show


def line(now: Standing, seconds: float) -> Text:
    """The counts as one line."""
    from rich.text import Text

    text = Text(f"{now.read:,} read · {now.written:,} written · ")
    text.append(f"{now.rejected:,} rejected", style="yellow" if now.rejected else "")
    return text.append(f" · {now.read / max(seconds, 0.001):,.0f} rows/s · {seconds:.0f} s")
