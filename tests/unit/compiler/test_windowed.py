"""A window that cannot be is refused before anything runs, at its place and with a way out."""

from __future__ import annotations

import pyarrow as pa
import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.errors import DataHubError
from beam_datahub.runtime.collect import collect
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.spec import loads

ROWS = pa.table({"k": ["a", "a"], "n": [1, 2], "t": pa.array([0, 90_000_000], pa.timestamp("us"))})
SPEC = """\
name: windows
sources:
  rows: {connector: inline, connection: {}, rows: []}
  more: {connector: inline, connection: {}, rows: []}
transformations:
  - STEP
destination: {connector: console}
"""


def refusal(step: str, follows: frozenset[str] = frozenset()) -> str:
    text = SPEC.replace("STEP", f"{{id: step, {step}}}")
    options = BuildOptions(sources={"rows": RowsSource(ROWS), "more": RowsSource(ROWS)}, outputs=False, follows=follows)
    with pytest.raises(DataHubError) as caught:
        build(loads(text), options)
    error = caught.value
    return f"{'.'.join(map(str, error.place.path)) if error.place else ''}: {error.reason} | {error.hint}"


COUNT = "config: {by: k, measures: {n: count(*)}}"
ONE = "type: aggregation, input: rows, window: "


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (f"{ONE}{{type: fixed, size: 1 minute, on: tt}}, {COUNT}", "unknown column 'tt' | did you mean 't'?"),
        (f"{ONE}{{type: fixed, size: 1 minute, on: k}}, {COUNT}", "is VARCHAR, and a window goes by a timestamp"),
        (f"{ONE}{{type: fixed, on: t}}, {COUNT}", "needs `size`, such as `size: 1 minute`"),
        (f"{ONE}{{type: fixed, size: 1 h, gap: 1 s, on: t}}, {COUNT}", "has no `gap`: it takes size, offset"),
        (f"{ONE}{{type: calendar, unit: day, zone: Berlin, on: t}}, {COUNT}", "no time zone of the IANA database"),
        (f"{ONE}{{type: fixed, size: 1 h, on: t, early: often}}, {COUNT}", "a rhythm such as `every 10 seconds`"),
        (f"{ONE}{{type: fixed, size: 1 h, on: {{more: t}}}}, {COUNT}", "'more' is no input of the step"),
        (
            "type: aggregation, input: rows, window: {type: fixed, size: 1 h, on: t}, config: {measures: {window_end: count(*)}}",
            "there would be two columns called 'window_end'",
        ),
        (
            "type: mapping, input: rows, window: {type: fixed, size: 1 h, on: t}, config: {fields: {k: k}}",
            "'mapping' has no window",
        ),
        (
            "type: join, input: [rows, more], window: {type: session, gap: 1 h, on: t}, config: {on: k}",
            "a session is made of the rows of one input",
        ),
        (
            "type: join, input: [rows, more], window: {type: fixed, size: 1 h, on: {rows: t}}, config: {on: k}",
            "the time column of 'more' is missing | add `more: column`",
        ),
    ],
)
def test_a_wrong_window_is_told_with_a_way_out(step: str, told: str) -> None:
    assert told in refusal(step)


@pytest.mark.parametrize(
    "config", ["aggregation, config: {measures: {n: count(*)}}", "deduplication, config: {by: k, order_by: n}"]
)
def test_a_stream_has_no_last_row_to_wait_for(config: str) -> None:
    told = refusal(f"input: rows, type: {config}", follows=frozenset(["rows"]))
    assert "has no window, and a stream has no last row" in told
    assert "`window: {type: fixed, size: 1 minute, on: placed_at}`" in told


def test_windows_of_a_batch_are_numbered_as_complete_ones_and_take_the_place_of_columns_of_their_names() -> None:
    first = "id: minutes, type: aggregation, input: rows, config: {by: k, measures: {n: sum(n)}}"
    second = "id: step, type: top, input: minutes, config: {order_by: n, limit: 1}"
    minute, hour = "{type: fixed, size: 1 minute, on: t}", "{type: fixed, size: 1 hour, on: window_start, panes: true}"
    text = SPEC.replace("STEP", f"{{{first}, window: {minute}}}\n  - {{{second}, window: {hour}}}")
    sources = {"rows": RowsSource(ROWS), "more": RowsSource(ROWS)}
    found = collect(build(loads(text), BuildOptions(sources=sources, outputs=False)), {"step": "step"}).tables["step"]
    (row,) = found.to_pylist()
    assert {name: str(value) for name, value in row.items()} == {
        "window_start": "1970-01-01 00:00:00",
        "window_end": "1970-01-01 01:00:00",
        "pane_index": "0",
        "pane_timing": "on_time",
        "k": "a",
        "n": "1",
    }
