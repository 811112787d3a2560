"""The benchmarks' data is the same every time, and their oracle tells a right answer from a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
ROWS = 2000


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a script of bench/, which is no package."""
    monkeypatch.syspath_prepend(str(BENCH))
    return lambda name: __import__(name)


@pytest.fixture
def data(bench: Callable[[str], ModuleType], tmp_path: Path) -> Path:
    made: Path = bench("data").prepare(ROWS, set(bench("data").FILES), tmp_path / "data")
    return made


def answer(bench: Callable[[str], ModuleType], case: Any, data: Path, target: Path, change: str = "") -> None:
    """Write the right answer of a case, or one that `change`, a SELECT over `answer`, makes of it."""
    query = bench("queries").sql(case.query, str(data), case.oracle_inputs or case.inputs)
    query = f"select * from ({query}){' where ' + case.oracle_where if case.oracle_where else ''}"
    target.mkdir()
    duckdb.connect().execute(f"copy (with answer as ({query}) {change or 'from answer'}) to '{target}/part.{case.output}'")


def test_the_same_rows_are_made_every_time(bench: Callable[[str], ModuleType], data: Path, tmp_path: Path) -> None:
    again = bench("data").prepare(ROWS, set(bench("data").FILES), tmp_path / "again")
    for name in bench("data").FILES:
        assert (data / name).read_bytes() == (again / name).read_bytes(), name


def test_one_row_in_a_hundred_is_defective(data: Path) -> None:
    clean = (data / "orders.csv").read_text("utf-8").splitlines()
    defective = (data / "defective.csv").read_text("utf-8").splitlines()
    assert len(clean) == len(defective) == ROWS + 1
    assert sum(one != other for one, other in zip(clean, defective, strict=True)) == ROWS // 100


def test_every_case_accepts_the_right_answer(bench: Callable[[str], ModuleType], data: Path, tmp_path: Path) -> None:
    for case in bench("cases").CASES:
        answer(bench, case, data, tmp_path / case.name)
        rows, wrong = bench("oracle").differences(case, data, tmp_path / case.name)
        assert rows > 0
        assert wrong == [], case.name


@pytest.mark.parametrize(
    "change",
    [
        "from answer where order_id <> (select max(order_id) from answer)",
        "from answer union all (from answer limit 1)",
        "from answer where order_id <> (select max(order_id) from answer) union all (from answer order by order_id limit 1)",
        "select * replace (nullif(total, (select max(total) from answer)) as total) from answer",
        "select * replace (total + 0.01 as total) from answer",
        "select * exclude (country) from answer",
        "from answer limit 0",
    ],
)
def test_a_wrong_answer_is_found(bench: Callable[[str], ModuleType], data: Path, tmp_path: Path, change: str) -> None:
    case = bench("cases").CASES[0]
    answer(bench, case, data, tmp_path / "out", change)
    assert bench("oracle").differences(case, data, tmp_path / "out")[1] != []


def test_nothing_written_is_no_answer(bench: Callable[[str], ModuleType], data: Path, tmp_path: Path) -> None:
    assert bench("oracle").differences(bench("cases").CASES[0], data, tmp_path / "out")[1] == ["nothing was written"]
