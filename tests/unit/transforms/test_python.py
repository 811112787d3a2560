from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.loaded_module import find_function
from beam_datahub.errors import DataHubError, StepFailed
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON
from beam_datahub.testing.steps import run_step

ROWS = [{"id": n, "t": text} for n, text in enumerate(["a", "bb", None, "", "ccc"])]


def test_rows_become_none_one_or_several_and_the_culprits_are_named() -> None:
    code = """
def work(row):
    if row["t"] == "":
        return None
    if row["t"] == "ccc":
        return "ccc"
    return ({"id": row["id"], "letter": letter} for letter in row["t"])
"""
    config = {"code": code, "function": "work", "schema": {"id": "bigint", "letter": "varchar"}}
    found = run_step("python", config, {"input": ROWS}, slice_rows=2)
    assert sorted((row["id"], row["letter"]) for row in found.rows) == [(0, "a"), (1, "b"), (1, "b")]
    assert sorted((record["reason"], record["message"]) for record in found.rejected) == [
        ("python_failed", "TypeError: 'NoneType' object is not iterable"),
        ("type_mismatch", "the function returned str, and not a dict, None or several dicts"),
    ]
    books = found.books["step"]
    assert (books["in"], books["out"], books["filtered"], books["rejected"], books["added"]) == (5, 3, 1, 2, 1)


def test_what_does_not_fit_the_declared_schema_is_rejected_and_nothing_is_cut_off() -> None:
    code = """
VALUES = [1, 1.5, "x", 2**70, None, 3.0]
def work(row):
    return {"id": row["id"], "n": VALUES[row["id"]], **({"extra": 1} if row["id"] == 4 else {})}
"""
    given = [{"id": n} for n in range(6)]
    config = {"code": code, "function": "work", "schema": {"id": "bigint", "n": "bigint"}}
    found = run_step("python", config, {"input": given})
    assert [(row["id"], row["n"]) for row in found.rows] == [(0, 1), (5, 3)]
    assert sorted(record["message"] for record in found.rejected) == [
        "the function returned 'extra', which `schema` does not declare",
        "the function returned 'x' for 'n', which is int64",
        "the function returned 1.5 for 'n', which is int64",
        "the function returned 1180591620717411303424 for 'n', which is int64",
    ]
    assert {record["reason"] for record in found.rejected} == {"type_mismatch"}


def test_json_columns_are_values_in_a_row_function() -> None:
    code = "def work(row):\n    row['j']['n'] += 1\n    return row\n"
    found = run_step(
        "python", {"code": code, "function": "work"}, {"input": [{"j": '{"n": 1}'}]}, schema={"input": {"j": "json"}}
    )
    assert found.rows == [{"j": '{"n": 2}'}]


def test_json_that_cannot_be_read_rejects_its_row() -> None:
    texts = pa.ExtensionArray.from_storage(JSON, pa.array(['{"a":1}', '{"a": ']))
    config = {"code": "def work(row):\n    return row\n", "function": "work"}
    found = run_step("python", config, {"input": pa.table({"j": texts})})
    assert found.rows == [{"j": '{"a": 1}'}]
    assert [(record["reason"], record["column"]) for record in found.rejected] == [("type_mismatch", "j")]


ARROW = """
import pyarrow as pa
import pyarrow.compute as pc

def work(batch):
    numbers = pc.cast(batch["t"], pa.int64())
    return batch.set_column(1, "t", pc.add(numbers, 1))

def odd(batch):
    return batch.filter(pc.equal(pc.bit_wise_and(batch["id"], 1), 1))

def numbered(batch):
    rows = pa.array([row for row in range(batch.num_rows) for _ in range(row % 2 + 1)][::-1])
    return batch.take(rows), rows
"""


def test_a_batch_that_fails_is_halved_until_the_culprits_stand_alone() -> None:
    given = [{"id": n, "t": str(n) if n % 40 else "x"} for n in range(100)]
    config = {"code": ARROW, "function": "work", "over": "arrow", "schema": {"id": "bigint", "t": "integer"}}
    found = run_step("python", config, {"input": given})
    assert [(row["id"], row["t"]) for row in found.rows] == [(n, n + 1) for n in range(100) if n % 40]
    assert [record["reason"] for record in found.rejected] == ["python_failed"] * 3
    assert all(record["message"].startswith("ArrowInvalid:") for record in found.rejected)


@pytest.mark.parametrize("function", ["odd", "numbered"])
def test_arrow_functions_may_change_the_number_of_rows(function: str) -> None:
    given = [{"id": n} for n in range(8)]
    found = run_step("python", {"code": ARROW, "function": function, "over": "arrow"}, {"input": given})
    expected = [1, 3, 5, 7] if function == "odd" else [0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7]
    assert [row["id"] for row in found.rows] == expected
    assert found.books["step"].get("filtered", 0) == (4 if function == "odd" else 0)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("frame[frame.n > 2]", [3, 4]),
        ("frame.assign(n=frame.n * 2)", [2, 4, 6, 8]),
        ("frame.sort_values('n', ascending=False)", [1, 2, 3, 4]),
        ("frame[frame.n > 2].reset_index(drop=True)", [3, 4]),
        ("frame.loc[frame.index.repeat(2)]", [1, 1, 2, 2, 3, 3, 4, 4]),
    ],
)
def test_pandas_functions_tell_rows_apart_by_the_index(body: str, expected: list[int]) -> None:
    big = 2**53 + 1
    code = f"def work(frame):\n    assert frame.big.iloc[0] == {big}\n    return {body}\n"
    given = [{"n": n, "big": big} for n in (1, 2, 3, 4)] + [{"n": None, "big": big}][:0]
    found = run_step("python", {"code": code, "function": "work", "over": "pandas"}, {"input": given})
    assert sorted(row["n"] for row in found.rows) == expected
    assert {row["big"] for row in found.rows} == {big}


@pytest.mark.parametrize("over", ["rows", "arrow", "pandas"])
def test_every_type_comes_back_as_it_was(over: str) -> None:
    with KernelSession(threads=1) as session:
        table = session.query(
            "SELECT i, ['{\"z\":1}'::JSON, '5'::JSON] AS l, [{'j': '1'::JSON, 'd': 1.50::DECIMAL(5,2)}] AS s, map{'a': i} AS m, "
            "INTERVAL 1 DAY AS v, '\\x00\\xff'::BLOB AS b, TIME '01:02:03.000004' AS t, "
            "TIMESTAMPTZ '2025-03-30 01:30:00.000001+00' AS z, 9007199254740993 AS big, nullif(i, 1) AS n, "
            "'infinity'::DOUBLE AS f FROM range(3) r(i)"
        )
    code = "def work(value):\n    return value\n"
    found = run_step("python", {"code": code, "function": "work", "over": over}, {"input": table}, slice_rows=2)
    assert found.rows == table.to_pylist()
    assert found.schema == table.schema


def test_a_module_travels_as_text(tmp_path: Path) -> None:
    path = tmp_path / "clean.py"
    path.write_text(
        "import dataclasses\n@dataclasses.dataclass\nclass P:\n    a: int\n\ndef work(row):\n    return {'id': P(row['id']).a}\n"
    )
    function = pickle.loads(pickle.dumps(find_function(str(path), "work", str(path))))
    path.unlink()
    assert function.load()({"id": 3}) == {"id": 3}


def test_a_module_that_does_not_load_fails_the_step_with_its_own_words() -> None:
    with pytest.raises(StepFailed, match="no_such_package"):
        run_step("python", {"code": "import no_such_package\ndef work(row): return row\n", "function": "work"}, {"input": ROWS})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"function": "f"}, "either `module` or `code`"),
        ({"module": "m.py", "code": "", "function": "f"}, "either `module` or `code`"),
        ({"module": "missing.py", "function": "f"}, "cannot read the module"),
        ({"module": "no.such.module", "function": "f"}, "there is no module 'no.such.module'"),
        ({"code": "def f(:\n", "function": "f"}, "is no Python: .* in line 1"),
        ({"code": "def wrok(row): return row", "function": "work"}, "unknown function 'work'"),
        ({"code": "def f(row): return row", "function": "f", "schema": {"a": "intger"}}, "intger"),
        ({"code": "def f(row): return row", "function": "f", "over": "numpy"}, "'rows'"),
    ],
)
def test_a_wrong_python_step_is_refused(config: dict[str, Any], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("python", config, {"input": ROWS})


SHAKY = """
import pyarrow as pa

seen = []

def one(n):
    seen.append(n)
    if n == 2 and seen.count(2) < {passes_after}:
        raise TimeoutError("no answer")
    if n == 3:
        raise ConnectionResetError("gone")
    if n == 4:
        raise ValueError("bad")
    if n == 5:
        if seen.count(5) == 1:
            raise TimeoutError("no answer")
        raise ValueError("bad after all")

def rows(row):
    one(row["n"])
    return [row, row] if row["n"] == 1 else row

def arrow(batch):
    for n in batch["n"].to_pylist():
        one(n)
    return batch

def pandas(frame):
    for n in frame.n:
        one(int(n))
    return frame
"""


@pytest.mark.parametrize("over", ["rows", "arrow", "pandas"])
def test_rows_that_fail_for_a_reason_that_may_pass_are_tried_again(over: str) -> None:
    # Batches are halved, which calls the function more than once in each attempt.
    code = SHAKY.replace("{passes_after}", "2" if over == "rows" else "6") + f"# {over}"
    policy = {"attempts": 3, "backoff": {"initial_interval": "1 ms", "max_interval": "1 ms"}}
    config = {"code": code, "function": over, "over": over, "retry": policy}
    found = run_step("python", config, {"input": [{"n": n} for n in (0, 1, 2, 3, 4, 5, 6)]})
    assert [row["n"] for row in found.rows] == ([0, 1, 1, 2, 6] if over == "rows" else [0, 1, 2, 6])
    rejected = {json.loads(record["original"])["n"]: (record["message"], record["attempts"]) for record in found.rejected}
    assert rejected[3] == ("ConnectionResetError: gone", 3)
    assert rejected[4] == ("ValueError: bad", 1)
    assert rejected[5][0] == "ValueError: bad after all"
    assert {record["reason"] for record in found.rejected} == {"python_failed"}
    assert len(found.rejected) == 3


def test_without_a_policy_each_row_is_tried_once() -> None:
    config = {"code": SHAKY.replace("{passes_after}", "99"), "function": "rows"}
    found = run_step("python", config, {"input": [{"n": n} for n in (1, 2, 3)]})
    assert [row["n"] for row in found.rows] == [1, 1]
    assert [record["attempts"] for record in found.rejected] == [1, 1]
