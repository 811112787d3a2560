"""Joins two inputs on equal columns, or on the nearest value in time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from beam_datahub.component.columns import NamesOrMapping, find_column, is_free
from beam_datahub.component.config import Config, Example
from beam_datahub.component.matching import On, check_comparable, matched_keys
from beam_datahub.component.operators import Join, JoinKind, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.component.windowing import time_column
from beam_datahub.errors import InvalidValue, UnknownColumn
from beam_datahub.kernels.types import visible
from beam_datahub.kernels.windows import END, START
from beam_datahub.spec.durations import Seconds

# Name → (side, column); side -1 is the key of whichever side has the row.
_Outputs = dict[str, tuple[int, str]]


class Within(Config):
    """How near in time two rows must lie to match."""

    left: str
    """The column of time of the first input: a date or a timestamp."""

    right: str
    """The column of time of the second input."""

    before: Seconds = 0.0
    """How long before the first input's row one of the second may lie, such as `10 minutes`."""

    after: Seconds = 0.0
    """How long after the first input's row one of the second may lie."""


class AsOf(Config):
    """The nearest match by a column that is compared instead of equal, such as a time."""

    left: str
    """The column of the first input."""

    right: str
    """The column of the second input."""

    direction: Literal["backward", "forward"] = "backward"
    """`backward` takes the last row of the second input at or before the first's value, `forward` the first at or after."""

    exact_matches: bool = True
    """Whether an equal value matches; without it, only an earlier (or later) one does."""

    within: Seconds | None = None
    """How far apart in time the two may lie, such as `1 day`; beyond that there is no match."""


class JoinConfig(Config):
    """Options of a join."""

    on: On
    """The columns to match: `column`, a list of columns of the same name in both inputs, or a mapping of a column of the
    first → a column of the second. A null matches nothing."""

    kind: Literal["inner", "left", "right", "full", "semi", "anti"] = "inner"
    """Which rows come out: `inner` the pairs that match; `left`, `right` and `full` also the rows of the first, the
    second or both inputs that match nothing; `semi` and `anti` the rows of the first input that do and do not match,
    with its columns only."""

    asof: AsOf | None = None
    """Match each row of the first input with the nearest one of the second instead; goes with `inner` and `left`."""

    within: Within | None = None
    """Match only rows that lie near each other in time; goes with `inner`, `left`, `semi` and `anti`."""

    columns: NamesOrMapping | None = None
    """The output's columns: a list, or a mapping new name → column, where a column may be written `input.column`.
    Without it: the first input's, then the second's without its keys; one whose name is taken already gets its input's
    name in front (`customers_name`)."""


_ORDERS: list[dict[str, Any]] = [
    {"id": 1, "customer": 7, "name": "desk"},
    {"id": 2, "customer": 8, "name": "lamp"},
    {"id": 3, "customer": None, "name": "mat"},
]
_CUSTOMERS: list[dict[str, Any]] = [{"customer_id": 7, "name": "Ada"}, {"customer_id": 9, "name": "Bo"}]


@register("transform", "join", since="0.1.0")
class JoinTransform(Transform):
    """Joins two inputs, the first and the second of `input`, on equal columns or on the nearest value."""

    Config = JoinConfig
    config: JoinConfig
    works_in_windows = True
    input_count = (2, 2)
    examples = (
        Example(
            title="Orders with their customers; the name that both have is told apart",
            config={"on": {"customer": "customer_id"}, "kind": "left"},
            given={"orders": _ORDERS, "customers": _CUSTOMERS},
            expect=[
                {"id": 1, "customer": 7, "name": "desk", "customers_name": "Ada"},
                {"id": 2, "customer": 8, "name": "lamp", "customers_name": None},
                {"id": 3, "customer": None, "name": "mat", "customers_name": None},
            ],
        ),
        Example(
            title="Choose and name the columns",
            config={"on": {"customer": "customer_id"}, "columns": {"item": "orders.name", "buyer": "customers.name"}},
            given={"orders": _ORDERS, "customers": _CUSTOMERS},
            expect=[{"item": "desk", "buyer": "Ada"}],
        ),
        Example(
            title="What has no partner: orders without a known customer",
            config={"on": {"customer": "customer_id"}, "kind": "anti", "columns": ["id"]},
            given={"orders": _ORDERS, "customers": _CUSTOMERS},
            expect=[{"id": 2}, {"id": 3}],
        ),
        Example(
            title="Clicks and the orders of the same user within the same ten minutes",
            window={"type": "fixed", "size": "10 minutes", "on": {"clicks": "at", "orders": "placed"}},
            config={"on": "user", "columns": ["user", "page", "total"]},
            given={
                "clicks": [
                    {"user": 7, "page": "lamp", "at": "2025-01-01 12:01:00"},
                    {"user": 7, "page": "desk", "at": "2025-01-01 11:59:00"},
                ],
                "orders": [{"user": 7, "total": 30, "placed": "2025-01-01 12:09:00"}],
            },
            schema={"clicks": {"at": "timestamp"}, "orders": {"placed": "timestamp"}},
            expect=[
                {
                    "window_start": "2025-01-01 12:00:00",
                    "window_end": "2025-01-01 12:10:00",
                    "user": 7,
                    "page": "lamp",
                    "total": 30,
                }
            ],
        ),
        Example(
            title="The price that was valid at the time of the sale",
            config={"on": "sku", "kind": "left", "asof": {"left": "sold", "right": "since"}, "columns": ["sku", "sold", "price"]},
            given={
                "sales": [{"sku": "a", "sold": 5}, {"sku": "a", "sold": 20}, {"sku": "a", "sold": 1}],
                "prices": [{"sku": "a", "since": 3, "price": 100}, {"sku": "a", "since": 10, "price": 120}],
            },
            expect=[
                {"sku": "a", "sold": 5, "price": 100},
                {"sku": "a", "sold": 20, "price": 120},
                {"sku": "a", "sold": 1, "price": None},
            ],
        ),
        Example(
            title="What was clicked in the ten minutes before each order",
            config={
                "on": "user",
                "within": {"left": "placed", "right": "at", "before": "10 minutes"},
                "columns": ["user", "placed", "page"],
            },
            given={
                "orders": [{"user": 7, "placed": "2025-01-01 12:10:00"}],
                "clicks": [
                    {"user": 7, "page": "lamp", "at": "2025-01-01 12:00:00"},
                    {"user": 7, "page": "desk", "at": "2025-01-01 11:59:59"},
                    {"user": 7, "page": "mat", "at": "2025-01-01 12:10:01"},
                ],
            },
            schema={"orders": {"placed": "timestamp"}, "clicks": {"at": "timestamp"}},
            expect=[{"user": 7, "placed": "2025-01-01 12:10:00", "page": "lamp"}],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        if len(inputs) < 2:
            scope.error(
                InvalidValue("both inputs are the same step", hint="put a step between, such as a mapping, and join with that")
            )
            return [Rows()]
        windowing = scope.windowing
        (left_name, left), (right_name, right) = ((name, visible(schema)) for name, schema in inputs.items())
        left_keys, right_keys = matched_keys(self.config.on, left, right, scope)
        kind, asof, within = JoinKind(self.config.kind), self._asof(left, right, scope), self._within(left, right, scope)
        outputs, qualified = _outputs(kind, (left_name, left, left_keys), (right_name, right, right_keys))
        windows: tuple[str, ...] = ()
        if windowing is not None:
            # Rows match within their window only.
            windows = (START, END)
            if windowing.window.merges:
                scope.error(InvalidValue("a session is made of the rows of one input", hint="join within fixed windows"), "on")
            if not windowing.window.accumulate:
                reason = (
                    "of new rows alone, a join would miss those that match earlier ones: `results: discard` does not go with it"
                )
                scope.error(InvalidValue(reason, hint="leave `results` out"), "on")
        side = -1 if kind in (JoinKind.RIGHT, JoinKind.FULL) else 0
        return [
            Join(
                kind if asof is None else JoinKind.ASOF,
                (*left_keys, *windows),
                (*right_keys, *windows),
                (*self._chosen(outputs, qualified, scope), *((name, side, name) for name in windows)),
                asof=asof,
                within=within,
                unmatched="drop" if asof is not None and kind == JoinKind.INNER else "keep",
                windowing=windowing,
            )
        ]

    def _asof(self, left: pa.Schema, right: pa.Schema, scope: Scope) -> tuple[str, str, str] | None:
        asof = self.config.asof
        if asof is None:
            return None
        if self.config.kind not in ("inner", "left"):
            scope.error(InvalidValue(f"`asof` does not go with a {self.config.kind} join", hint="use `inner` or `left`"), "asof")
        left_column, right_column = (
            find_column(asof.left, left, scope, "asof", "left"),
            find_column(asof.right, right, scope, "asof", "right"),
        )
        if left_column is None or right_column is None:
            return None
        check_comparable(left_column, left, right_column, right, scope, "asof")
        operator = (">" if asof.direction == "backward" else "<") + ("=" if asof.exact_matches else "")
        return left_column, right_column, operator

    def _within(self, left: pa.Schema, right: pa.Schema, scope: Scope) -> tuple[str, str, int, int] | None:
        within, asof = self.config.within, self.config.asof
        if within is not None and asof is not None:
            reason = "`within` does not go with `asof`, which has its own"
            scope.error(InvalidValue(reason, hint="write it under `asof`"), "within")
            return None
        if asof is not None and asof.within is not None:
            span = round(asof.within * 1_000_000)
            sides, at = (asof.left, asof.right), ("asof",)
            before, after = (span, 0) if asof.direction == "backward" else (0, span)
        elif within is not None:
            if self.config.kind not in ("inner", "left", "semi", "anti"):
                reason = f"`within` does not go with a {self.config.kind} join"
                scope.error(InvalidValue(reason, hint="use `inner`, `left`, `semi` or `anti`"), "within")
            sides, at = (within.left, within.right), ("within",)
            before, after = round(within.before * 1_000_000), round(within.after * 1_000_000)
        else:
            return None
        found = [
            time_column(name, schema, scope, *at, side)
            for name, schema, side in zip(sides, (left, right), ("left", "right"), strict=True)
        ]
        return None if found[0] is None or found[1] is None else (found[0], found[1], before, after)

    def _chosen(self, outputs: _Outputs, qualified: _Outputs, scope: Scope) -> tuple[tuple[str, int, str], ...]:
        columns = self.config.columns
        if columns is None:
            return tuple((name, side, column) for name, (side, column) in outputs.items())
        named = columns if isinstance(columns, dict) else {name.rpartition(".")[2] or name: name for name in columns}
        if not isinstance(columns, dict) and len(named) < len(columns):
            scope.error(InvalidValue("two of the columns have one name", hint="write `columns` as `new name: column`"), "columns")
        chosen: list[tuple[str, int, str]] = []
        known = {name.casefold(): found for name, found in {**qualified, **outputs}.items()}
        for index, (name, source) in enumerate(named.items()):
            at = ("columns", name if isinstance(columns, dict) else index)
            found = known.get(source.casefold())
            if found is None:
                scope.error(UnknownColumn(source, [*outputs, *qualified]), *at)
            elif is_free(name, (taken for taken, _, _ in chosen), scope, *at):
                chosen.append((name, *found))
        return tuple(chosen)


def _outputs(
    kind: JoinKind, left: tuple[str, pa.Schema, Sequence[str]], right: tuple[str, pa.Schema, Sequence[str]]
) -> tuple[_Outputs, _Outputs]:
    """The columns that come out unless chosen otherwise, and each column as `input.column`."""
    left_name, left_schema, left_keys = left
    right_name, right_schema, right_keys = right
    either = kind in (JoinKind.RIGHT, JoinKind.FULL)
    outputs: _Outputs = {name: (-1 if either and name in left_keys else 0, name) for name in left_schema.names}
    qualified: _Outputs = {f"{left_name}.{name}": found for name, found in outputs.items()}
    if kind in (JoinKind.SEMI, JoinKind.ANTI):
        return outputs, qualified
    taken = {name.casefold() for name in outputs}
    for name in right_schema.names:
        qualified[f"{right_name}.{name}"] = (1, name)
        if name in right_keys:
            continue
        free = name if name.casefold() not in taken else f"{re.sub(r'[^0-9A-Za-z_]', '_', right_name)}_{name}"
        while free.casefold() in taken:
            free += "_2"
        taken.add(free.casefold())
        outputs[free] = (1, name)
    return outputs, qualified
