"""Runs into a database that are killed in the middle: what was there stays, and the next run sweeps and carries on."""

from __future__ import annotations

import json
import signal
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.io.database_systems import made

ROWS = 20_000
# Waits in the middle of the data until the file `go` is there; the file `reached` tells that it waits.
GATE = textwrap.dedent("""
    import os, time
    def gate(row):
        if row["id"] == GATE_ROW:
            open("reached", "w").close()
            while not os.path.exists("go"):
                time.sleep(0.01)
        return row
""").replace("GATE_ROW", str(ROWS * 9 // 10))
STEP = "  - {id: gate, type: python, config: {module: gate.py, function: gate}}"


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("postgresql", "append"),
        ("postgresql", "overwrite"),
        ("postgresql", "merge"),
        ("mysql", "merge"),
        ("sqlite", "append"),
        ("duckdb", "merge"),
    ],
)
def test_a_run_killed_in_the_middle_changes_nothing_and_the_next_one_carries_on(
    name: str, mode: str, work: Any, tmp_path: Path, request: pytest.FixtureRequest, balanced: Callable[..., None]
) -> None:
    system = made(name, tmp_path, request)
    system.run("create table t (id bigint primary key, text varchar(100))", "insert into t values (-1, 'before')")
    work.folder.joinpath("data.csv").write_text("id,text\n" + "".join(f"{i},{'x' * 90}\n" for i in range(ROWS)))
    work.folder.joinpath("gate.py").write_text(GATE)
    target = f"connector: {name}, connection: {json.dumps(system.connection)}, table: t, write_mode: {mode}"
    target += ", key: [id]" if mode == "merge" else ""
    work.spec("{connector: csv, connection: {path: data.csv}}", f"input: gate, {target}", steps=STEP)
    running = work.start("run", "spec.yaml", "--json")
    running.until(lambda: (work.folder / "reached").exists())
    running.signal(signal.SIGKILL)
    assert running.end().status == -signal.SIGKILL
    assert [row["id"] for row in system.rows("t")] == [-1]
    (work.folder / "go").touch()
    done = work.bh("run", "spec.yaml", "--json")
    assert done.status == 0, done
    balanced(done)
    found = sorted(row["id"] for row in system.rows("t"))
    assert found == ([] if mode == "overwrite" else [-1]) + list(range(ROWS))
    assert system.staging() == []
