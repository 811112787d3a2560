"""What measures over groups of rows compile to: a projection, an aggregation of plain columns, a projection again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.component.columns import unused_name
from beam_datahub.component.operators import Aggregate, Check, Column, Measure, Operator, Rows
from beam_datahub.errors import OrderDependent, SpecError
from beam_datahub.kernels.expressions import AggregateCall, AggregateExpression, Expression, column, compile_aggregate
from beam_datahub.kernels.types import quoted
from beam_datahub.kernels.windows import NUMBERS, Windowing

if TYPE_CHECKING:
    from beam_datahub.component.transform import Scope


def compile_measure(value: Any, schema: pa.Schema, scope: Scope, *at: str | int) -> AggregateExpression | None:
    """The measure that `value` means; None, once the error is reported, where it means none or hangs on the rows' order."""
    try:
        measure = compile_aggregate(value, schema)
    except SpecError as error:
        scope.error(error, *at)
        return None
    if measure.order_dependent:
        scope.error(
            OrderDependent(
                f"'{measure.text}' depends on the order in which the rows come",
                hint="order inside the aggregate, as first(status order by updated_at desc)",
            ),
            *at,
        )
        return None
    return measure


@dataclass
class Grouping:
    """Collects the keys and measures of one aggregation, and gives the operators for them."""

    schema: pa.Schema
    keys: dict[str, Expression]
    windowing: Windowing | None = None
    _made: dict[str, tuple[str, Expression]] = field(default_factory=dict)
    _measures: dict[AggregateCall, Measure] = field(default_factory=dict)
    _outputs: dict[str, Expression] = field(default_factory=dict)

    def add(self, name: str, measure: AggregateExpression, where: Expression | None = None) -> None:
        """Have `measure` as the column `name`, over the rows that also meet `where`."""
        renamed = {call.name: self._call(call, where) for call in measure.calls}
        post = measure.post
        sql = re.sub('"?(' + "|".join(map(re.escape, renamed)) + r')\b"?', lambda found: quoted(renamed[found[1]].name), post.sql)
        columns = tuple(renamed[old].name if old in renamed else old for old in post.columns)
        self._outputs[name] = replace(post, sql=sql, columns=columns)

    def operators(self, keep: Expression | None = None, checks: Sequence[Check] = ()) -> list[Operator]:
        """The operators; rows go through `keep` and `checks` before they are grouped."""
        columns = [Column(name, expression) for name, expression in self.keys.items()]
        columns += [Column(name, expression) for name, expression in self._made.values()]
        if not columns:
            # count(*) of everything reads no column, and a batch without columns has no rows.
            first = self.schema.names[0]
            columns.append(Column(first, column(first, self.schema)))
        measures = tuple(self._measures.values())
        aggregate = Aggregate(tuple(self.keys), measures, self.windowing)
        grouped = pa.schema([(name, key.type) for name, key in self.keys.items()] + [(m.name, m.type) for m in measures])
        numbers = [*NUMBERS] if self.windowing is not None and self.windowing.numbered else []
        grouped = pa.schema([*grouped, *numbers])
        return [
            Rows(tuple(columns), keep=keep, checks=tuple(checks)),
            aggregate,
            Rows(
                tuple(
                    [Column(name, column(name, grouped)) for name in (*self.keys, *(field.name for field in numbers))]
                    + [Column(name, expression) for name, expression in self._outputs.items()]
                )
            ),
        ]

    def _call(self, call: AggregateCall, where: Expression | None) -> Measure:
        if where is not None:
            call = replace(call, where=where if call.where is None else _both(where, call.where))
        # The same call in two measures is computed once.
        same = replace(call, name="")
        if same not in self._measures:
            self._measures[same] = Measure(
                name=unused_name(f"measure_{len(self._measures) + 1}", [*self.keys, *self._inputs()]),
                function=call.function,
                arguments=tuple(self._column(argument) for argument in call.arguments),
                type=call.type,
                distinct=call.distinct,
                order=tuple((self._column(part), descending) for part, descending in _total(call)),
                where=self._column(call.where) if call.where is not None else None,
                parameters=call.parameters,
            )
        return self._measures[same]

    def _column(self, expression: Expression) -> str:
        """The projected column that holds `expression`."""
        if expression.sql not in self._made:
            for name, key in self.keys.items():
                if key.sql == expression.sql:
                    return name
            wish = expression.columns[0] if expression.is_column else f"argument_{len(self._made) + 1}"
            self._made[expression.sql] = (unused_name(wish, [*self.keys, *self._inputs()]), expression)
        return self._made[expression.sql][0]

    def _inputs(self) -> Iterator[str]:
        return (name for name, _ in self._made.values())


def _total(call: AggregateCall) -> tuple[tuple[Expression, bool], ...]:
    """The call's order, ended by its arguments: rows that are then still tied give the same result either way."""
    if not call.order:
        return ()
    ordered = {expression.sql for expression, _ in call.order}
    return (*call.order, *((argument, False) for argument in call.arguments if argument.sql not in ordered))


def _both(left: Expression, right: Expression) -> Expression:
    columns = tuple(dict.fromkeys([*left.columns, *right.columns]))
    sql = f"({left.sql}) AND ({right.sql})"
    return Expression(f"{left.text} and {right.text}", sql, pa.bool_(), columns, left.can_fail or right.can_fail)


def named_expressions(by: Sequence[str | Mapping[str, Any]]) -> list[tuple[str, Any, int]]:
    """(name, expression, index) of the items of a `by` list: `column`, `name: expression` as text, or a mapping."""
    found: list[tuple[str, Any, int]] = []
    for index, item in enumerate(by):
        if isinstance(item, Mapping):
            found += [(name, value, index) for name, value in item.items()]
            continue
        # A cast (`a::date`) has two colons.
        named = re.match(r"\s*([^\W\d]\w*)\s*:(?!:)\s*(.+)", item, re.DOTALL)
        found.append((named[1], named[2], index) if named else (item, item, index))
    return found
