#!/usr/bin/env python3
"""Measures what five quality rules cost: a filter and map with and without them, here and in pandera and Great Expectations.

Counts CPU seconds of the whole process, which a busy machine changes less than time on the clock; contestants take turns, and
the least of the runs of each counts. Once no record fails, once one in a hundred does, which is kept and told.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contestants import BENCH, Peer
from data import prepare
from measure import warm

HUB = Path(sys.executable).with_name("beam-datahub")
WANTED = 0.25
PEERS = [
    Peer(
        "pandera",
        "pandera (Polars)",
        "with_rules.py",
        ("pandera[polars]==0.35.0", "polars==2.1.0", "pyarrow==25.0.1", "pycountry"),
        "polars",
    ),
    Peer(
        "great_expectations",
        "Great Expectations (pandas)",
        "with_rules.py",
        ("great_expectations==1.24.1", "polars==2.1.0", "pyarrow==25.0.1", "pycountry"),
        "polars",
    ),
]
MOST = {"no record fails": 9000, "1 % of records fail": 8100}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", type=lambda text: [n for n in text.split(",") if n], default=names, help=", ".join(names))
    parser.add_argument("--forms", type=lambda text: text.split(","), default=["csv", "parquet"], help="csv, parquet")
    arguments = parser.parse_args()
    peers = [peer for peer in PEERS if peer.name in arguments.peers]
    for peer in peers:
        peer.install()
    folder = prepare(arguments.rows, {f"orders.{form}" for form in arguments.forms})
    with tempfile.TemporaryDirectory(dir=BENCH / "data") as work:
        for form in arguments.forms:
            path = folder / f"orders.{form}"
            warm(path)
            contest(path, peers, arguments.repeat, Path(work))


def contest(path: Path, peers: list[Peer], repeat: int, work: Path) -> None:
    """Measure all on one file and print what they took."""
    form = path.suffix[1:]
    commands = {("beam-datahub", "no rules"): ours("filter_map", path, work)}
    commands |= {("beam-datahub", title): ours("filter_map_rules", path, work, most) for title, most in MOST.items()}
    for peer in peers:
        start = [peer.python, str(BENCH / "peers" / peer.script), peer.name]
        commands[peer.title, "no rules"] = [*start, "plain", str(path), "0", str(work / "out")]
        for title, most in MOST.items():
            commands[peer.title, title] = [*start, "rules", str(path), str(most), str(work / "out")]
    least: dict[tuple[str, str], tuple[float, float]] = {}
    for _ in range(repeat):
        for key, command in commands.items():
            found = _measured(command, work)
            least[key] = min(found, least.get(key, found))
    for (who, title), (cpu, wall) in least.items():
        plain, mine = least[who, "no rules"][0], least["beam-datahub", title][0]
        added = f"rules add {cpu / plain - 1:+6.0%}" if title in MOST else ""
        bound = f"wanted: below {WANTED:.0%}" if who == "beam-datahub" and added else ""
        beside = f"{cpu / mine:5.1f} times ours" if who != "beam-datahub" else ""
        print(f"{form:8} {who:28} {title:20} {cpu:7.2f} CPU s {wall:7.2f} s  {added:17} {bound}{beside}".rstrip())


def ours(spec: str, path: Path, work: Path, most: int | None = None) -> list[str]:
    """The command that runs a spec here."""
    settings = {"connector": path.suffix[1:], "input": str(path), "output": f"{work}/out/"}
    settings |= {"most": str(most)} if most is not None else {}
    pairs = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [str(HUB), "run", str(BENCH / "specs" / f"{spec}.yaml"), *pairs, "-q", "--no-record"]


def _measured(command: list[str], work: Path) -> tuple[float, float]:
    started = time.perf_counter()
    # Violations and run records are kept below the folder where a run starts.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=work)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started


if __name__ == "__main__":
    main()
