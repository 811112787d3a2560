"""The audit finds every record that went missing, wherever it did."""

from __future__ import annotations

from collections import Counter

from beam_datahub.compiler.books import Entry, Ledger, Link, audit
from beam_datahub.compiler.commit import Budget

LEDGER = Ledger(
    (Link((Entry("orders"),), "paid"), Link((Entry("paid"),), "out")), {"orders": ("orders",), "paid": ("paid",), "out": ("out",)}
)


def totals(**changes: int) -> dict[str, Counter[str]]:
    counts = {
        "orders": Counter({"read": 10, "rejected": 1, "out": 9}),
        "paid": Counter({"in": 9, "filtered": 4, "out": 5}),
        "out": Counter({"in": 5}),
        "dead": Counter({"in": 1}),
    }
    for name, change in changes.items():
        part, term = name.split("_")
        counts[part][term] += change
    return counts


def faults(written: int = 5, **changes: int) -> list[str]:
    return audit(LEDGER, totals(**changes), {"out": written}, "dead").faults


def test_books_that_balance_have_no_faults() -> None:
    assert faults() == []


def test_a_row_lost_inside_a_step_is_found() -> None:
    assert faults(paid_filtered=-1) == ["paid: 9 came in, 8 are accounted for"]


def test_a_row_lost_between_two_steps_is_found() -> None:
    assert "orders → paid: 9 went out, 8 came in" in faults(paid_in=-1, paid_filtered=-1)


def test_a_row_that_was_not_written_is_found() -> None:
    assert faults(written=4) == ["out: 5 came in, 4 were written"]


def test_a_reject_that_misses_the_dead_letter_is_found() -> None:
    assert faults(dead_in=-1) == ["dead: 1 were rejected, 0 reached the dead letter"]


def test_the_line_of_a_step_sums_its_parts() -> None:
    ledger = Ledger((Link((Entry("a#before"),), "a"),), {"a": ("a#before", "a")})
    counts = {"a#before": Counter({"in": 10, "merged": 6, "out": 4}), "a": Counter({"in": 4, "merged": 1, "out": 3})}
    line = audit(ledger, counts, {}, None).by_step(ledger)["a"]
    assert (line["in"], line["merged"], line["out"]) == (10, 7, 3)


def test_a_budget_is_a_count_or_a_share_of_what_was_read() -> None:
    assert Budget(records=2).exceeded(2, 10) is None
    assert Budget(records=2).exceeded(3, 10) == "3 records were rejected, 2 are allowed"
    assert Budget(share=0.05).exceeded(5, 100) is None
    assert Budget(share=0.05).exceeded(6, 100) == "6 of 100 records were rejected (6.0%), 5.0% are allowed"
    assert Budget().exceeded(100, 100) is None
