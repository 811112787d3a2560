"""Turns measurements into the tables that are printed and kept in RESULTS.md."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cases import CASES, Case, wanted

START_UP_SECONDS = 1.0
MEMORY_BOUND = 1536
SHUFFLE_MEMORY_BOUND = 4096
# The bounds are meant for at least so many orders; with fewer, what every run costs outweighs the work.
ROWS_MEANT = 10_000_000


@dataclass
class Score:
    """What one contestant took for one case: per repetition, seconds of the whole process and of its start-up."""

    case: Case
    contestant: str
    rows: int
    walls: list[float] = field(default_factory=list)
    start_ups: list[float] = field(default_factory=list)
    peak: int = 0
    failure: str = ""

    @property
    def wall(self) -> float:
        return min(self.walls, default=math.nan)

    @property
    def beyond(self) -> float:
        """Seconds beyond start-up."""
        return min((wall - start for wall, start in zip(self.walls, self.start_ups, strict=True)), default=math.nan)

    @property
    def throughput(self) -> float:
        """Input rows a second beyond start-up."""
        return self.rows / self.beyond


@dataclass
class Setting:
    """Where and how was measured."""

    rows: int
    repeat: int
    versions: dict[str, str]


def find(scores: Sequence[Score], case: str, contestant: str) -> Score | None:
    """The score of a contestant in a case, if it took part and finished."""
    for score in scores:
        if (score.case.name, score.contestant) == (case, contestant) and score.walls and not score.failure:
            return score
    return None


def markdown(setting: Setting, titles: dict[str, str], scores: Sequence[Score], ours: str) -> str:
    """The whole report."""
    parts = ["# Benchmarks", *_preface(setting), "## Times and memory", _times(titles, scores, ours)]
    if any(score.contestant == ours for score in scores):
        parts.append("## What is wanted, and what was measured")
        if setting.rows < ROWS_MEANT:
            parts.append(f"These bounds are meant for {ROWS_MEANT:,} orders; this run had fewer.")
        parts += [_bounds(setting.rows, scores, ours)]
    return "\n\n".join(parts) + "\n"


def _preface(setting: Setting) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(setting.versions.items()))
    return [
        "Written by `bench/run.py`; see [README.md](README.md) for how it measures.",
        "\n".join(
            [
                *circumstances(versions),
                f"- {setting.rows:,} orders, {setting.repeat} runs of each, interleaved; the least time of each counts",
            ]
        ),
    ]


def circumstances(versions: str) -> list[str]:
    """When, where and with what was measured, as lines of a list."""
    return [
        f"- when: {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"- machine: {os.cpu_count()} cores ({_processor()}), {_memory_gib()} GiB of memory, {platform.system()}",
        f"- Python {platform.python_version()}, {versions}",
    ]


def _times(titles: dict[str, str], scores: Sequence[Score], ours: str) -> str:
    head = [
        "| benchmark | contestant | rows | process | beyond start-up | million rows/s | memory | ours ÷ it | ours ÷ it, beyond |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    lines = []
    for score in scores:
        name = f"| {score.case.title} | {titles[score.contestant]} | {score.rows:,} "
        if score.failure:
            lines.append(f"{name}| {score.failure} | | | | | |")
            continue
        mine = find(scores, score.case.name, ours)
        whole = beyond = ""
        # Contestants that read fewer rows are compared by rows a second.
        if mine is not None and score is not mine and score.rows == mine.rows:
            whole, beyond = f"{mine.wall / score.wall:.2f}", f"{mine.beyond / score.beyond:.2f}"
        elif mine is not None and score is not mine:
            beyond = f"{score.throughput / mine.throughput:.3f}"
        lines.append(
            f"{name}| {score.wall:.2f} s | {score.beyond:.2f} s | {score.throughput / 1e6:.2f} "
            f"| {score.peak / 2**20:,.0f} MiB | {whole} | {beyond} |"
        )
    return "\n".join(head + lines)


def _bounds(rows: int, scores: Sequence[Score], ours: str) -> str:
    lines = ["| benchmark | wanted | measured | |", "|---|---|--:|---|"]
    for bound in wanted(rows):
        mine, theirs = find(scores, bound.case, ours), find(scores, bound.case, bound.against)
        if mine is None or theirs is None:
            continue
        if bound.measure == "throughput":
            measured = mine.throughput / theirs.throughput
            holds = measured >= bound.bound
        else:
            measured = getattr(mine, bound.measure) / getattr(theirs, bound.measure)
            holds = measured <= bound.bound
        lines.append(line(mine.case.title, bound.text, f"{measured:.2f}×", holds))
    clean, defective = find(scores, "csv_parquet", ours), find(scores, "defective", ours)
    if clean and defective:
        more = defective.beyond / clean.beyond - 1
        lines.append(line(defective.case.title, "less than 30 % more than clean rows", f"{more * 100:+.0f} %", more < 0.3))
    for case in CASES:
        if mine := find(scores, case.name, ours):
            start_up = min(mine.start_ups)
            text = f"start-up at most {START_UP_SECONDS:g} s"
            lines.append(line(case.title, text, f"{start_up:.2f} s", start_up <= START_UP_SECONDS))
            bound_mib = SHUFFLE_MEMORY_BOUND if case.shuffles else MEMORY_BOUND
            text = f"peak memory at most {bound_mib:,} MiB"
            lines.append(line(case.title, text, f"{mine.peak / 2**20:,.0f} MiB", mine.peak <= bound_mib * 2**20))
    return "\n".join(lines)


def line(title: str, text: str, measured: str, holds: bool) -> str:
    """A line of the table of what is wanted."""
    return f"| {title} | {text} | {measured} | {'holds' if holds else '**falls short**'} |"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
