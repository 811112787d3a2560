"""Two-phase aggregation: a bundle's rows become partial states, the states of a key meet in a shard and are merged.

An aggregate without a mergeable state sends its rows through the shuffle instead, with the same result.
"""

from __future__ import annotations

import pyarrow as pa

from beam_datahub.compiler.plan import Exchange, Node, Plan, Shuffle
from beam_datahub.component.operators import Aggregate, Measure
from beam_datahub.kernels.session import KernelSession, single_batch
from beam_datahub.kernels.types import HIDDEN, empty_table, quoted, sql_type
from beam_datahub.kernels.windows import END, START, sessions_sql

_VARIANCES = {
    "var_pop": "{m2} / {n}",
    "var_samp": "{m2} / nullif({n} - 1, 0)",
    "variance": "{m2} / nullif({n} - 1, 0)",
    "stddev_pop": "sqrt({m2} / {n})",
    "stddev_samp": "sqrt({m2} / nullif({n} - 1, 0))",
    "stddev": "sqrt({m2} / nullif({n} - 1, 0))",
}
_SAME = {"sum": "sum", "min": "min", "max": "max", "bool_and": "bool_and", "bool_or": "bool_or", "count": "sum"}
_DISTINCT = f"{HIDDEN}distinct"


def two_phase_aggregation(plan: Plan) -> Plan:
    """Turn every Aggregate into a shuffle."""
    nodes: dict[str, Node] = {}
    for node in plan:
        if isinstance(node.operator, Aggregate):
            schema = (nodes[node.inputs[0]] if node.inputs[0] in nodes else plan.node(node.inputs[0])).schema
            node = node.with_(operator=_shuffle(node.operator, schema, node.schema))
        nodes[node.id] = node
    return plan.replaced(nodes)


def _shuffle(aggregate: Aggregate, schema: pa.Schema, output: pa.Schema) -> Shuffle:
    keys, windowing = tuple(quoted(key) for key in aggregate.keys), aggregate.windowing
    if windowing is not None and windowing.window.merges:
        # Which rows make a session shows where all rows of a key meet.
        met = tuple(quoted(key) for key in aggregate.keys if key not in (START, END))
        after = _whole(aggregate, keys, f"({sessions_sql('input', met)})")
        return Shuffle((Exchange(met, None, schema),), after, output, kind="aggregate rows", windowing=windowing)
    partial = _Partial(aggregate, schema, keys)
    before = partial.before() if partial.possible else None
    exchange = Exchange(keys, before, _described(before, schema) if before else schema)
    after = partial.after() if partial.possible else _whole(aggregate, keys)
    kind = "aggregate" if before else "aggregate rows"
    compact = partial.compact() if before and windowing is not None else None
    return Shuffle((exchange,), after, output, kind=kind, global_row=not keys, windowing=windowing, compact=compact)


def _described(sql: str, schema: pa.Schema) -> pa.Schema:
    with KernelSession(threads=1) as session:
        session.put("input", single_batch(empty_table(schema)))
        return session.describe(sql)


def _grouped(keys: tuple[str, ...]) -> str:
    return f" GROUP BY {', '.join(keys)}" if keys else ""


def _whole(aggregate: Aggregate, keys: tuple[str, ...], relation: str = "input") -> str:
    select = [*keys, *(f"CAST({_call(m)} AS {sql_type(m.type)}) AS {quoted(m.name)}" for m in aggregate.measures)]
    return f"SELECT {', '.join(select)} FROM {relation}{_grouped(keys)}"


def _call(measure: Measure, function: str | None = None) -> str:
    arguments = ", ".join([*(quoted(a) for a in measure.arguments), *measure.parameters]) or "*"
    order = ", ".join(f"{quoted(name)}{' DESC' if descending else ''} NULLS LAST" for name, descending in measure.order)
    inner = f"{'DISTINCT ' if measure.distinct else ''}{arguments}{f' ORDER BY {order}' if order else ''}"
    return f"{function or measure.function}({inner}){_filter(measure)}"


def _filter(measure: Measure) -> str:
    return f" FILTER (WHERE {quoted(measure.where)})" if measure.where else ""


class _Partial:
    """The two queries of an aggregate, where every measure has a mergeable state."""

    def __init__(self, aggregate: Aggregate, schema: pa.Schema, keys: tuple[str, ...]) -> None:
        self._keys, self._measures, self._schema = keys, aggregate.measures, schema
        distinct = {m.arguments for m in self._measures if self._is_distinct(m)}
        self._distinct = next(iter(distinct), None)
        self.possible = len(distinct) <= 1 and all(self._mergeable(m) for m in self._measures)

    @staticmethod
    def _is_distinct(measure: Measure) -> bool:
        return measure.distinct and measure.function not in ("min", "max", "bool_and", "bool_or")

    def _mergeable(self, measure: Measure) -> bool:
        if measure.order or measure.parameters:
            return False
        if self._is_distinct(measure):
            return measure.function == "count" and len(measure.arguments) == 1 and measure.where is None
        if measure.function == "avg" or measure.function in _VARIANCES:
            kind = self._schema.field(measure.arguments[0]).type
            return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
        return measure.function in _SAME and len(measure.arguments) <= 1

    def _states(self, index: int, measure: Measure) -> list[tuple[str, str]]:
        """(name, aggregate) of each state column."""
        name = f"{HIDDEN}s{index}_"
        argument = quoted(measure.arguments[0]) if measure.arguments else "*"
        where = _filter(measure)
        if self._is_distinct(measure):
            return []
        if measure.function == "avg":
            return [(f"{name}sum", f"sum({argument}){where}"), (f"{name}n", f"count({argument}){where}")]
        if measure.function in _VARIANCES:
            return [
                (f"{name}n", f"count({argument}){where}"),
                (f"{name}mean", f"avg({argument}){where}"),
                (f"{name}m2", f"var_pop({argument}){where} * count({argument}){where}"),
            ]
        return [(f"{name}v", f"{measure.function}({argument}){where}")]

    def before(self) -> str:
        """Rows → states, by key (and by the distinct argument, where there is one)."""
        states = [f"{sql} AS {quoted(name)}" for i, m in enumerate(self._measures) for name, sql in self._states(i, m)]
        extra = [quoted(self._distinct[0])] if self._distinct else []
        select = [*self._keys, *(f"{name} AS {_DISTINCT}" for name in extra), *states]
        return f"SELECT {', '.join(select)} FROM input{_grouped((*self._keys, *extra))}"

    def _spread(self, keys: tuple[str, ...]) -> str:
        """The states, with the mean over all states of equal `keys` beside those of a variance."""
        spread = [
            f"sum({n} * {mean}) OVER ({over}) / nullif(sum({n}) OVER ({over}), 0) AS {quoted(f'{HIDDEN}s{i}_all')}"
            for i, m in enumerate(self._measures)
            if m.function in _VARIANCES
            for n, mean in [(quoted(f"{HIDDEN}s{i}_n"), quoted(f"{HIDDEN}s{i}_mean"))]
            for over in [f"PARTITION BY {', '.join(keys)}" if keys else ""]
        ]
        return f"(SELECT *, {', '.join(spread)} FROM input)" if spread else "input"

    def compact(self) -> str:
        """States → fewer states, one for each key (and distinct argument), columns as in `before`."""
        extra = [_DISTINCT] if self._distinct else []
        select = [*self._keys, *extra]
        for index, measure in enumerate(self._measures):
            for name, _ in self._states(index, measure):
                column = quoted(name)
                merged = f"sum({column})"
                if measure.function in _VARIANCES:
                    n, mean, m2, everything = (quoted(f"{HIDDEN}s{index}_{part}") for part in ("n", "mean", "m2", "all"))
                    weighed = f"sum({n} * {mean}) / nullif(sum({n}), 0)"
                    apart = f"sum({m2} + {n} * ({mean} - {everything}) * ({mean} - {everything}))"
                    merged = {n: merged, mean: weighed, m2: apart}[column]
                elif measure.function != "avg":
                    merged = f"{_SAME[measure.function]}({column})"
                select.append(f"{merged} AS {column}")
        return f"SELECT {', '.join(select)} FROM {self._spread((*self._keys, *extra))}{_grouped((*self._keys, *extra))}"

    def after(self) -> str:
        """States → values, by key."""
        source = self._spread(self._keys)
        select = [*self._keys]
        for index, measure in enumerate(self._measures):
            select.append(f"CAST({self._merged(index, measure)} AS {sql_type(measure.type)}) AS {quoted(measure.name)}")
        return f"SELECT {', '.join(select)} FROM {source}{_grouped(self._keys)}"

    def _merged(self, index: int, measure: Measure) -> str:
        name = f"{HIDDEN}s{index}_"
        if self._is_distinct(measure):
            return f"count(DISTINCT {_DISTINCT})"
        if measure.function == "avg":
            return f"CAST(sum({quoted(name + 'sum')}) AS DOUBLE) / nullif(sum({quoted(name + 'n')}), 0)"
        if measure.function in _VARIANCES:
            n, mean, m2, everything = (quoted(name + part) for part in ("n", "mean", "m2", "all"))
            total = f"sum({m2} + {n} * ({mean} - {everything}) * ({mean} - {everything}))"
            return _VARIANCES[measure.function].format(m2=total, n=f"nullif(sum({n}), 0)")
        merged = f"{_SAME[measure.function]}({quoted(name + 'v')})"
        return f"coalesce({merged}, 0)" if measure.function == "count" else merged
