"""What the columns of an expression or a query are used for: as a value, to decide a value, or to decide over rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from beam_datahub.lineage.model import (
    AGGREGATION,
    CONDITIONAL,
    FILTER,
    GROUP_BY,
    IDENTITY,
    INDIRECT,
    JOIN,
    SORT,
    TRANSFORMATION,
    WINDOW,
    Flow,
)


@dataclass
class QueryUses:
    """How a query uses its input: `columns` output → (input column, flow) pairs, `rows` (input column, flow) pairs that decide
    which rows come out.
    """

    columns: dict[str, list[tuple[str, Flow]]] = field(default_factory=dict)
    rows: list[tuple[str, Flow]] = field(default_factory=list)


def expression_uses(text: str, columns: Sequence[str]) -> list[tuple[str, Flow]]:
    """How a scalar expression uses `columns`: conditions of `case` and `if` decide, everything else goes in."""
    try:
        tree = parse_one(text, dialect="duckdb")
    except SqlglotError:
        return [(name, TRANSFORMATION) for name in columns]
    found = dict.fromkeys(_uses(tree, TRANSFORMATION))
    seen = {name.casefold() for name, _ in found}
    spelled = {name.casefold(): name for name in columns}
    uses = [(spelled[name.casefold()], flow) for name, flow in found if name.casefold() in spelled]
    # A path or a template reads columns that SQL does not see.
    return list(dict.fromkeys([*uses, *((name, TRANSFORMATION) for name in columns if name.casefold() not in seen)]))


def query_uses(sql: str, lineage: Mapping[str, Sequence[str]], inputs: Iterable[str]) -> QueryUses:
    """How a query over `input` uses its columns, given which of them each output column comes from."""
    spelled = {name.casefold(): name for name in inputs}
    unknown = QueryUses({name: [(origin, TRANSFORMATION) for origin in origins] for name, origins in lineage.items()})
    try:
        tree = parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return unknown
    projected: dict[str, dict[str, list[Flow]]] = {}
    for select in tree.find_all(exp.Select):
        for item in select.expressions:
            uses = _uses(item.unalias(), IDENTITY)
            for name, flow in uses:
                projected.setdefault(item.alias_or_name.casefold(), {}).setdefault(name.casefold(), []).append(flow)
    found = QueryUses()
    for name, origins in lineage.items():
        own = projected.get(name.casefold(), {})
        found.columns[name] = [
            (origin, flow)
            for origin in origins
            # A column that comes through a subquery under another name is at least not left as it is.
            for flow in dict.fromkeys(own.get(origin.casefold(), [IDENTITY if not own and origin == name else TRANSFORMATION]))
        ]
    deciding = dict.fromkeys((spelled[name.casefold()], flow) for name, flow in _deciding(tree) if name.casefold() in spelled)
    found.rows = list(deciding)
    return found


def _uses(tree: exp.Expr, flow: Flow) -> Iterator[tuple[str, Flow]]:
    """The columns below a node; `flow` is what those that stand right here do."""
    if isinstance(tree, exp.Column):
        yield tree.name, flow
        return
    if isinstance(tree, exp.Query):
        return
    inner = flow if isinstance(tree, exp.Paren | exp.Alias) else _stronger(flow, tree)
    for key, value in tree.args.items():
        for part in value if isinstance(value, list) else [value]:
            if not isinstance(part, exp.Expr):
                continue
            if isinstance(tree, exp.If | exp.Case) and key == "this":
                yield from _uses(part, CONDITIONAL)
            elif isinstance(tree, exp.Window) and key in ("partition_by", "order"):
                yield from _uses(part, WINDOW)
            elif isinstance(tree, exp.Filter) and key == "expression":
                yield from _uses(part, FILTER)
            elif isinstance(part, exp.Order):
                yield from _uses(part, SORT)
            else:
                yield from _uses(part, inner)


def _stronger(flow: Flow, tree: exp.Expr) -> Flow:
    if flow.kind == INDIRECT:
        return flow
    return flow.then(AGGREGATION if isinstance(tree, exp.AggFunc) else TRANSFORMATION)


def _deciding(tree: exp.Expr) -> Iterator[tuple[str, Flow]]:
    """The columns of clauses that decide which rows come out."""
    for select in tree.find_all(exp.Select):
        for clause, flow in (("where", FILTER), ("having", FILTER), ("qualify", FILTER), ("group", GROUP_BY)):
            if (found := select.args.get(clause)) is not None:
                for column in found.find_all(exp.Column):
                    window = column.find_ancestor(exp.Window)
                    yield column.name, WINDOW if window is not None else flow
        for join in select.args.get("joins") or ():
            if (on := join.args.get("on")) is not None:
                yield from ((column.name, JOIN) for column in on.find_all(exp.Column))
            yield from ((each.name, JOIN) for each in join.args.get("using") or ())
        if (order := select.args.get("order")) is not None:
            yield from ((column.name, SORT) for column in order.find_all(exp.Column) if column.find_ancestor(exp.Window) is None)
        if isinstance(distinct := select.args.get("distinct"), exp.Distinct):
            shown = distinct.args.get("on") or exp.Tuple(expressions=select.expressions)
            yield from ((column.name, GROUP_BY) for column in shown.find_all(exp.Column))
