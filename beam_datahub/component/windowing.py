"""What every step that works in windows has in common: rows get their windows first, and its output begins with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.component.columns import find_column, unchanged
from beam_datahub.component.operators import Applied, Apply, BatchKernel, Check, Column, Operator, Rows
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import Expression, column
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.session import KernelSession, conform, single_batch
from beam_datahub.kernels.types import TIMESTAMP, TIMESTAMPTZ, quoted, sql_type, visible
from beam_datahub.kernels.windows import (
    END,
    INDEX,
    ON_TIME,
    START,
    TIMING,
    Window,
    Windowing,
    bounds_sql,
    points,
    sessions_sql,
    sliding,
)

if TYPE_CHECKING:
    from beam_datahub.component.transform import Scope

# The columns of the output that tell the window of a row.
WINDOW_START, WINDOW_END = "window_start", "window_end"
PANE_INDEX, PANE_TIMING = "pane_index", "pane_timing"
_SHOWN = {WINDOW_START: START, WINDOW_END: END, PANE_INDEX: INDEX, PANE_TIMING: TIMING}


def time_column(name: str, schema: pa.Schema, scope: Scope, *at: str | int) -> str | None:
    """The column that tells when something happened; None, once the error is reported, where it cannot."""
    found = find_column(name, schema, scope, *at)
    if found is None:
        return None
    data_type = schema.field(found).type
    if not (pa.types.is_timestamp(data_type) or pa.types.is_date(data_type)):
        hint = f"make it a timestamp in a mapping before: `types: {{{found}: timestamp}}`"
        scope.error(
            InvalidValue(f"the column '{found}' is {sql_type(data_type)}, and a window goes by a timestamp", hint=hint), *at
        )
        return None
    return found


def assigned(window: Window, on: str, schema: pa.Schema) -> Operator:
    """What gives every row its windows, as the columns `windows.START` and `windows.END`; a row without a time is rejected."""
    schema = visible(schema)
    data_type = TIMESTAMPTZ if schema.field(on).type == TIMESTAMPTZ else TIMESTAMP
    whole = schema.append(pa.field(START, data_type)).append(pa.field(END, data_type))
    if window.kind == "sliding":
        lineage = {**unchanged(schema), START: (on,), END: (on,)}
        return Apply(SlidingWindows(window, on, whole), whole, lineage, can_reject=True, made=(START, END))
    start, end = bounds_sql(window, on, schema.field(on).type)
    made = [Column(name, Expression(name, sql, data_type, (on,), can_fail=True)) for name, sql in ((START, start), (END, end))]
    there = Expression(f"{on} is not null", f"{quoted(on)} IS NOT NULL", pa.bool_(), (on,), can_fail=False)
    check = Check(there, _without(on), "no_event_time", on)
    return Rows((*(Column(name, column(name, schema)) for name in schema.names), *made), checks=(check,))


def finished(windowing: Windowing, schema: pa.Schema) -> Rows:
    """The output of a step that works in windows: these first, then its columns; they take the place of others of their names."""
    window = windowing.window
    names = [WINDOW_START, WINDOW_END, *([PANE_INDEX, PANE_TIMING] if window.panes else [])]
    columns = [Column(name, column(_SHOWN[name], schema)) for name in names if _SHOWN[name] in schema.names]
    if window.panes and not windowing.numbered:
        # A batch run gives each window once, when all is there.
        columns.append(Column(PANE_INDEX, Expression("0", "CAST(0 AS BIGINT)", pa.int64(), can_fail=False)))
        columns.append(Column(PANE_TIMING, Expression(ON_TIME, f"'{ON_TIME}'", pa.string(), can_fail=False)))
    taken = {each.name.casefold() for each in columns}
    columns += [Column(name, column(name, schema)) for name in visible(schema).names if name.casefold() not in taken]
    return Rows(tuple(columns))


@dataclass(frozen=True)
class Meeting:
    """How rows meet within windows: the keys of the shuffle, those that tell groups apart, what a query reads, and all columns of
    the rows.
    """

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    relation: str
    schema: pa.Schema


def meeting(keys: Sequence[str], given: pa.Schema, windowing: Windowing | None) -> Meeting:
    """How rows of equal `keys` meet: in all that there is, or within their windows."""
    schema = visible(given)
    if windowing is None:
        return Meeting(tuple(keys), tuple(keys), "input", schema)
    schema = schema.append(given.field(START)).append(given.field(END))
    groups = (START, END, *keys)
    if not windowing.window.merges:
        return Meeting(groups, groups, "input", schema)
    return Meeting(tuple(keys), groups, f"({sessions_sql('input', tuple(map(quoted, keys)))})", schema)


def _without(on: str) -> str:
    return f"'{on}' is null: the record has no time, and is in no window"


class SlidingWindows(BatchKernel):
    """Gives a row for each window that it is in."""

    def __init__(self, window: Window, on: str, schema: pa.Schema) -> None:
        self._window, self._on, self._schema = window, on, schema

    def apply(self, batch: pa.RecordBatch, session: KernelSession) -> Applied:
        """Each row as often as there are windows that hold it."""
        data_type = self._schema.field(START).type
        times = batch[self._on].cast(data_type)
        missing = pc.indices_nonzero(pc.is_null(times))
        kept = pc.indices_nonzero(pc.is_valid(times)).cast(pa.int64())
        pairs, starts = sliding(times.take(kept), self._window)
        parents = kept.take(pa.array(pairs, pa.int64()))
        table = pa.Table.from_batches([batch.take(parents)])
        table = table.append_column(START, points(starts, data_type)).append_column(
            END, points(starts + self._window.size, data_type)
        )
        refused = rejections(missing.cast(pa.int64()), "no_event_time", _without(self._on), self._on) if len(missing) else None
        return Applied(single_batch(conform(table, self._schema)), parents, refused)

    def depends(self, column: str) -> tuple[str, ...] | None:
        """The windows hang on the time alone."""
        return (self._on,)
