from __future__ import annotations

import pytest

from beam_datahub.errors import InvalidExpression
from beam_datahub.testing.steps import run_step


def test_false_and_null_are_filtered_a_failure_is_rejected_and_the_books_say_so() -> None:
    rows = [{"n": text} for text in ("5", "0", None, "five", "7")]
    found = run_step("filtering", {"where": "cast(n as integer) > 1"}, {"input": rows})
    assert found.rows == [{"n": "5"}, {"n": "7"}]
    assert [record["reason"] for record in found.rejected] == ["expression_failed"]
    books = found.books["step"]
    assert (books["in"], books["out"], books["filtered"], books["rejected"]) == (5, 2, 2, 1)


def test_a_condition_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidExpression, match="true or false"):
        run_step("filtering", {"where": "n + 1"}, {"input": [{"n": 1}]})
