"""A test of event time plays rows, watermarks and time, and tells which result of which window differs."""

from __future__ import annotations

import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.spec import loads
from beam_datahub.testing.expectations import TestOutcome, run_tests

SPEC = """\
name: shop
sources:
  orders: {connector: jsonl, connection: {path: o.jsonl}, schema: {id: integer, k: varchar, placed: timestamp}}
  paid: {connector: jsonl, connection: {path: p.jsonl}, schema: {id: integer, amount: integer, at: timestamp}}
transformations:
  - id: minutes
    type: aggregation
    input: orders
    window: {type: fixed, size: 1 minute, on: placed, lateness: 30 s, early: every 10 seconds}
    config: {by: k, measures: {n: count(*)}}
  - id: hours
    type: aggregation
    window: {type: fixed, size: 1 hour, on: window_start}
    config: {measures: {results: count(*)}}
  - id: both
    type: join
    input: [orders, paid]
    window: {type: fixed, size: 1 minute, on: {orders: placed, paid: at}, lateness: 10 s}
    config: {on: id, kind: left, columns: [id, amount]}
destinations:
  - {id: out, input: hours, connector: jsonl, connection: {path: out.jsonl}}
  - {id: pairs, input: both, connector: jsonl, connection: {path: pairs.jsonl}}
tests:
  - name: one
"""
ORDERS = """\
    given:
      orders:
        timeline:
          - {at: 0 s, rows: [{id: 1, k: a, placed: 2025-01-01 12:00:01}, {id: 2, k: b, placed: 2025-01-01 12:00:30}]}
          - {at: 10 s, rows: [{id: 3, k: a, placed: 2025-01-01 12:00:02}]}
          - {at: 12 s, advance_watermark: 2025-01-01 12:01:00}
          - {at: 13 s, rows: [{id: 4, k: a, placed: 2025-01-01 12:00:59}]}
          - {at: 14 s, advance_watermark: 2025-01-01 12:01:30}
          - {at: 15 s, rows: [{id: 5, k: a, placed: 2025-01-01 12:00:59}, {id: 6, k: c, placed: 2025-01-01 13:30:00}]}
"""


def outcome(body: str) -> TestOutcome:
    return run_tests(loads(SPEC + body))[0]


def test_results_come_early_on_time_and_late_and_a_row_behind_the_lateness_is_rejected() -> None:
    found = outcome(
        ORDERS
        + """\
    panes:
      minutes:
        - {window: 2025-01-01 12:00:00, timing: early, rows: [{k: a, n: 1}, {k: b, n: 1}]}
        - {window: 2025-01-01 12:00:00, timing: on_time, rows: [{k: a, n: 2}, {k: b, n: 1}]}
        - {window: 2025-01-01 12:00:00, timing: late, rows: [{k: a, n: 3}]}
        - {window: 2025-01-01 13:30:00, timing: on_time, rows: [{k: c, n: 1}]}
    expect:
      out:
        - {window_start: 2025-01-01 12:00:00, window_end: 2025-01-01 13:00:00, results: 5}
        - {window_start: 2025-01-01 13:00:00, window_end: 2025-01-01 14:00:00, results: 1}
    rejected: [{step: minutes, reason: late, message: "its window ended at 2025-01-01 12:01:00"}]
"""
    )
    assert [line for line in found.problems if "both" not in line and "rejected" not in line and not line.startswith("+")] == []


def test_a_join_waits_for_the_watermark_of_both_its_inputs() -> None:
    found = outcome("""\
    given:
      orders:
        timeline:
          - {at: 0 s, rows: [{id: 1, k: a, placed: 2025-01-01 12:00:01}, {id: 2, k: a, placed: 2025-01-01 12:00:30}]}
          - {at: 2 s, advance_watermark: 2025-01-01 12:01:00}
      paid:
        timeline:
          - {at: 1 s, rows: [{id: 1, amount: 5, at: 2025-01-01 12:00:59}, {id: 2, amount: 7, at: 2025-01-01 12:01:00}]}
          - {at: 3 s, advance_watermark: 2025-01-01 12:01:05}
          - {at: 4 s, rows: [{id: 2, amount: 8, at: 2025-01-01 12:00:59}]}
    panes:
      both:
        - {timing: on_time, rows: [{id: 1, amount: 5}, {id: 2, amount: null}]}
        - {timing: late, rows: [{id: 2, amount: 8}]}
    rejected: 0
""")
    assert found.problems == ()


def test_what_differs_is_told_result_by_result() -> None:
    found = outcome(
        ORDERS
        + """\
    panes:
      minutes:
        - {timing: early, rows: [{k: a, n: 1}, {k: b, n: 1}]}
        - {timing: on_time, rows: [{k: a, n: 7}, {k: b, n: 1}]}
        - {window: 2025-01-01 14:00:00, rows: []}
"""
    )
    assert list(found.problems) == [
        "minutes: 3 results of windows expected, 4 came",
        "- window 2025-01-01 14:00:00: 0 rows",
        "+ window 2025-01-01 12:00:00, late: 1 row",
        "+ window 2025-01-01 13:30:00, on_time: 1 row",
        "minutes (window 2025-01-01 12:00:00, on_time): 2 rows expected, 2 came",
        '- {k: "a", n: 7}',
        '+ {k: "a", n: 2}',
        "    n: 7 expected, 2 came",
    ]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            "    given: {orders: {timeline: [{rows: [], advance_watermark: 2025-01-01}]}}\n    rejected: 0\n",
            "an event has one of `rows`",
        ),
        ("    given: {orders: {timeline: [{advance_watermark: soon}]}}\n    rejected: 0\n", "'soon' is no point in time"),
        (
            "    given: {orders: {timeline: [{at: 2 s, rows: []}, {at: 1 s, rows: []}]}}\n    rejected: 0\n",
            "order the events by `at`",
        ),
        ("    given: {orders: []}\n    panes: {ours: []}\n", "unknown step 'ours'"),
    ],
)
def test_a_timeline_that_cannot_be_is_refused(body: str, told: str) -> None:
    with pytest.raises(DataHubError) as caught:
        outcome(body)
    assert told in f"{caught.value} {caught.value.hint}"
