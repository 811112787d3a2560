#!/usr/bin/env python3
"""Runs the benchmarks of beam-datahub with its peers side by side, checks every answer, and writes RESULTS.md."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cases import CASES, Case
from contestants import BENCH, FEW_ROWS, OURS, PEERS, Peer, our_command
from measure import Measured, measure, warm
from report import Score, Setting, markdown


def main() -> int:
    """Run what the arguments choose; 1 when a contestant failed or its answer is wrong."""
    arguments = _arguments()
    cases = [case for case in CASES if case.name in arguments.cases]
    peers = [peer for peer in PEERS if peer.name in arguments.peers]
    for peer in peers:
        peer.install()
    scores: list[Score] = []
    with tempfile.TemporaryDirectory(prefix="out-", dir=arguments.folder) as work:
        for case in cases:
            print(f"\n{case.title}", flush=True)
            scores += _contest(case, [peer for peer in peers if peer.runs(case)], arguments, Path(work))
    setting = Setting(arguments.rows, arguments.repeat, _versions(peers))
    titles = {OURS: "**beam-datahub**", **{peer.name: peer.title for peer in PEERS}}
    text = markdown(setting, titles, scores, OURS)
    print(f"\n{text}")
    whole = len(cases) == len(CASES) and len(peers) == len(PEERS) and not arguments.without_ours
    if target := arguments.results or (BENCH / "RESULTS.md" if whole else None):
        target.write_text(text, encoding="utf-8")
    return 1 if any(score.failure for score in scores) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    names = {"cases": [case.name for case in CASES], "peers": [peer.name for peer in PEERS]}

    def listed(kind: str) -> object:
        def parse(text: str) -> list[str]:
            chosen = [name for name in text.split(",") if name]
            if unknown := set(chosen) - set(names[kind]):
                raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(names[kind])}")
            return chosen

        return parse

    parser.add_argument("--rows", type=int, default=10_000_000, help="orders to read (10 M are about 0.8 GB of CSV)")
    for kind, all_names in names.items():
        parser.add_argument(
            f"--{kind}", type=listed(kind), default=all_names, metavar="A,B", help=f"only these: {', '.join(all_names)}"
        )
    parser.add_argument("--repeat", type=int, default=3, help="runs of each contestant; the least time counts")
    parser.add_argument("--without-ours", action="store_true", help="run the peers alone")
    parser.add_argument("--folder", type=Path, default=BENCH / "data", help="where outputs are written, and deleted again")
    parser.add_argument("--results", type=Path, help="the file of the report; bench/RESULTS.md when nothing is left out")
    return parser.parse_args()


def _contest(case: Case, peers: list[Peer], arguments: argparse.Namespace, work: Path) -> list[Score]:
    """Run a case: contestants take turns, so that a slow spell of the machine meets all of them."""
    few = min(arguments.rows, FEW_ROWS)
    files = set(case.inputs) | set(case.oracle_inputs)
    data = {arguments.rows: _prepare(arguments.rows, files)}
    contest: list[tuple[Score, Peer | None]] = []
    if not arguments.without_ours:
        contest.append((Score(case, OURS, int(arguments.rows * case.share)), None))
    for peer in peers:
        orders = few if peer.row_wise else arguments.rows
        if orders not in data:
            data[orders] = _prepare(orders, files)
        contest.append((Score(case, peer.name, int(orders * case.share)), peer))
    warm(*(folder / name for folder in data.values() for name in case.inputs))

    for turn in range(arguments.repeat):
        for score, peer in contest:
            if score.failure:
                continue
            folder = data[few if peer and peer.row_wise else arguments.rows]
            target = work / "out"
            target.mkdir()
            command = peer.command(case, folder, target) if peer else our_command(case, folder, target)
            measured = measure(command)
            _record(score, measured, peer)
            if turn == 0 and not score.failure:
                score.failure = _verdict(case, folder, target)
            shutil.rmtree(target)
            state = score.failure or f"{measured.wall:.2f} s, {measured.peak / 2**20:,.0f} MiB"
            print(f"  {turn + 1}/{arguments.repeat} {score.contestant}: {state}", flush=True)
    return [score for score, _ in contest]


def _prepare(rows: int, files: set[str]) -> Path:
    # In a process of its own: a process that this one starts has this one's memory as its least peak.
    command = [sys.executable, str(BENCH / "data.py"), str(rows), *sorted(files)]
    return Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())


def _record(score: Score, measured: Measured, peer: Peer | None) -> None:
    if measured.status:
        print((measured.errors or measured.output)[-3000:], file=sys.stderr)
        score.failure = f"ended with status {measured.status}"
        return
    if peer is None:
        record = json.loads(measured.output.strip().splitlines()[-1])
        start_up = float(record["startup_seconds"])
        books = score.rows // 100 if score.case.name == "defective" else 0
        if record["rejected"] != books:
            score.failure = f"rejected {record['rejected']:,} rows instead of {books:,}"
    else:
        start_up = measure(peer.start_up()).wall
    score.walls.append(measured.wall)
    score.start_ups.append(start_up)
    score.peak = max(score.peak, measured.peak)


def _verdict(case: Case, folder: Path, target: Path) -> str:
    """What the oracle finds wrong with an answer; nothing, if it is right."""
    command = [sys.executable, str(BENCH / "oracle.py"), case.name, str(folder), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
        return "the oracle failed"
    wrong = json.loads(done.stdout)["wrong"]
    return f"wrong answer: {'; '.join(wrong)}" if wrong else ""


def _versions(peers: list[Peer]) -> dict[str, str]:
    found: dict[str, str] = {}
    for peer in peers:
        found.update(peer.versions())
    for name in (OURS, "duckdb", "pyarrow", "apache-beam"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    raise SystemExit(main())
