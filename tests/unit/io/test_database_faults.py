"""Destinations whose process is killed, and what the next run finds; servers that go away."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.database import Session
from beam_datahub.component.database_pool import close_pools
from tests.unit.io.database_systems import System, made

ROWS = pa.table({"id": pa.array(range(20), pa.int64()), "text": [f"row {n}" for n in range(20)]})
# BEAM_DATAHUB_FAULTS=80 kills a run at each of its first forty statements, before and after it; CI takes some of them.
EVERY = int(os.environ.get("BEAM_DATAHUB_FAULTS", "0"))


def run_that_dies(system: System, at: int, mode: str, run: str) -> bool:
    """A run in a process of its own that is killed at its statement number `at`, an even one before it and an odd one after it;
    whether it died.
    """
    close_pools()
    child = os.fork()
    if child == 0:
        try:
            _die_at(at, type(_session_of(system)))
            key = ["id"] if mode == "merge" else []
            system.write(system.sink(table="t"), ROWS.slice(0, 10), ROWS.slice(10), run=run, mode=mode, key=key)
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def _session_of(system: System) -> Session:
    with system.sink(table="t").connected() as session:  # type: ignore[attr-defined]
        return session  # type: ignore[no-any-return]


def _die_at(at: int, kind: Any) -> None:
    passed = 0

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal passed
            number, passed = passed, passed + 1
            if at == 2 * number:
                os.kill(os.getpid(), signal.SIGKILL)
            result = method(*arguments, **options)
            if at == 2 * number + 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    kind._execute, kind.load = counted(kind._execute), counted(kind.load)


def deaths(system: System, mode: str, moments: list[int]) -> int:
    """How many runs died at these moments, each looked after by a run that came through."""
    died = 0
    published = 0
    for number, at in enumerate(moments):
        died += run_that_dies(system, at, mode, f"{mode}-killed-{number}")
        key = ["id"] if mode == "merge" else []
        system.write(system.sink(table="t"), ROWS, run=f"{mode}-{number}", mode=mode, key=key)
        assert system.staging() == []
        found = [row["id"] for row in sorted(system.rows("t"), key=lambda row: row["id"])]
        if mode == "append":
            published = _committed(system)
            assert len(found) == 20 * published
            assert published >= number + 1
        assert found == sorted([*range(20)] * (published or 1))
    return died


def _committed(system: System) -> int:
    with system.sink(table="t").connected() as session:  # type: ignore[attr-defined]
        found = session.fetch("SELECT count(*) FROM _beam_datahub_ledger WHERE committed_at IS NOT NULL")
        assert session.fetch("SELECT count(*) FROM _beam_datahub_ledger WHERE committed_at IS NULL") == [(0,)]
        return int(found[0][0])


@pytest.mark.parametrize("mode", ["append", "overwrite", "merge"])
@pytest.mark.parametrize("name", ["postgresql", "mysql", "sqlite", "duckdb"])
def test_a_run_killed_at_any_statement_leaves_the_next_one_right(
    name: str, mode: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    system = made(name, tmp_path, request)
    moments = list(range(EVERY)) if EVERY else random.Random(f"{name}{mode}").sample(range(36), 6)
    died = deaths(system, mode, moments)
    print(f"{name}, {mode}: {died} runs killed")
    assert died >= len(moments) // 3
    close_pools()
