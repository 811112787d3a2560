"""Follows one value from a column of a source through a plan: in which columns of each step it stands, and as what.

A step that makes another text of the value, always the same and never the same for another value, is applied to it: a keyed
hash, a token, upper case. Where many values come to look alike, nobody can tell from a row whose it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from beam_datahub.compiler.carried import carried, carried_by_measure
from beam_datahub.compiler.plan import Node, Plan, Read, Write
from beam_datahub.component.operators import Aggregate, Apply, Column, PerKey, Protection, Rows
from beam_datahub.errors import DataHubError, InvalidValue
from beam_datahub.kernels.expressions import cast_sql
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import is_hidden, literal, sql_type

_MOST_FORMS = 16
# Functions whose result differs where their argument does, letters in upper and lower case and blanks around aside.
_FAITHFUL_FUNCTIONS = {"lower", "upper", "trim", "ltrim", "rtrim", "reverse", "md5", "sha1", "sha256", "hex", "to_hex", "base64"}
_FAITHFUL = (exp.Lower, exp.Upper, exp.Trim, exp.Reverse, exp.MD5, exp.SHA, exp.SHA2, exp.Hex, exp.Paren, exp.ToBase64)
_JOINING = (exp.DPipe, exp.Concat, exp.ConcatWs)


@dataclass(frozen=True)
class SubjectKey:
    """What tells whose a record is: a column, of one source or of any that has it, and the value in it."""

    column: str
    value: str
    source: str | None = None


@dataclass(frozen=True)
class Trace:
    """What a column holds of the subject: the `values` (each an array of one), and why it may hold it in other forms."""

    values: tuple[pa.Array, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Traces:
    """What a node's columns hold of the subject: `pairs` of a column and the value in it as text, `unknown` maps columns that
    nobody can tell it by to the reason.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    unknown: Mapping[str, str] | None = None


def trace(plan: Plan, keys: Sequence[SubjectKey]) -> Mapping[str, Traces]:
    """Node id → what its columns hold, for every node of a logical plan. Raises InvalidValue for a value that does not fit."""
    found: dict[str, dict[str, Trace]] = {}
    with KernelSession(threads=1) as session:
        tracer = _Tracer(plan, keys, session)
        for node in plan:
            before = [found[plan.node(reference).id] for reference in node.inputs]
            made = tracer.of_node(node, before)
            found[node.id] = {name: each for name, each in made.items() if (each.values or each.unknown) and not is_hidden(name)}
        return {node: tracer.told(plan.nodes[node].schema, each) for node, each in found.items()}


@dataclass(frozen=True)
class _Tracer:
    plan: Plan
    keys: Sequence[SubjectKey]
    session: KernelSession

    def of_node(self, node: Node, before: list[dict[str, Trace]]) -> dict[str, Trace]:
        operator = node.operator
        if isinstance(operator, Read):
            return self._of_source(node)
        if isinstance(operator, Write):
            return dict(before[0]) if before else {}
        if isinstance(operator, Rows) and operator.columns is not None:
            schema = self.plan.node(node.inputs[0]).schema
            return {column.name: self._of_column(column, before[0], schema) for column in operator.columns}
        if isinstance(operator, Apply):
            schema = self.plan.node(node.inputs[0]).schema
            return {name: self._applied(name, operator, before[0], schema) for name in node.schema.names}
        if isinstance(operator, Aggregate):
            keys = {name: before[0].get(name, Trace()) for name in operator.keys}
            measures = {
                each.name: _lost(before[0], [one.column for one in carried_by_measure(each)], "sums up several records")
                for each in operator.measures
            }
            return {**keys, **measures}
        if isinstance(operator, PerKey):
            return {name: _queried(name, operator, node, before[0]) for name in node.schema.names}
        return {
            name: _merged(before[index][origin] for index, origin in node.lineage.get(name, ()) if origin in before[index])
            for name in node.schema.names
        }

    def _of_source(self, node: Node) -> dict[str, Trace]:
        found: dict[str, Trace] = {}
        for key in self.keys:
            if key.column in node.schema.names and key.source in (None, node.id):
                value = self._typed(key, node.schema.field(key.column).type)
                found[key.column] = _merged([found.get(key.column, Trace()), Trace((value,))])
        return found

    def _typed(self, key: SubjectKey, kind: pa.DataType) -> pa.Array:
        try:
            return self._evaluated(cast_sql(literal(key.value), pa.string(), kind), kind, {})
        except duckdb.Error as error:
            reason = f"the subject's {key.column} is {sql_type(kind)}, and the given value is none"
            raise InvalidValue(reason, hint="write it as the data has it") from error

    def _of_column(self, column: Column, before: Mapping[str, Trace], schema: pa.Schema) -> Trace:
        expression = column.expression
        used = [name for name in expression.columns if name in before]
        if not used:
            return Trace()
        if expression.is_column:
            return before[used[0]]
        if column.protection is Protection.HIDDEN:
            return Trace((), ("nothing of it is left there",))
        handed = list(carried(expression))
        if not any(each.column in before for each in handed):
            return Trace()
        if column.protection is Protection.LOWERED or any(each.coarse for each in handed):
            return Trace((), ("only a part of it is there, which others may share",))
        others = [name for name in expression.columns if name not in before]
        if others:
            return Trace((), (f"it is made of {', '.join(others)} as well",))
        if not is_faithful(expression.sql):
            return Trace((), ("others may come to look the same there",))
        return self._each(
            before, used, schema, lambda values: self._evaluated(expression.sql, expression.type, values), column.name
        )

    def _applied(self, name: str, operator: Apply, before: Mapping[str, Trace], schema: pa.Schema) -> Trace:
        origins = operator.lineage.get(name, ())
        used = [origin for origin in origins if origin in before]
        if not used:
            return Trace()
        if operator.made is not None and name not in operator.made:
            return before[used[0]]
        if operator.made is None or tuple(origins) != (name,):
            return Trace((), ("a step makes it of several columns",))
        if operator.protection.get(name) is Protection.LOWERED:
            return Trace((), ("only a part of it is there, which others may share",))
        depends = operator.kernel.depends(name)
        if depends is None:
            return Trace((), ("it is encrypted anew each time",))
        others = [each for each in depends if each not in before]
        if others:
            return Trace((), (f"it depends on {', '.join(others)} as well",))

        def made(values: Mapping[str, pa.Array]) -> pa.Array:
            columns = [values.get(field.name, pa.nulls(1, field.type)) for field in schema]
            operator.kernel.open(self.session)
            applied = operator.kernel.apply(pa.RecordBatch.from_arrays(columns, schema=schema), self.session).batch
            return applied.column(name) if applied.num_rows == 1 else pa.nulls(1, applied.schema.field(name).type)

        return self._each(before, depends, schema, made, name)

    def _each(self, before: Mapping[str, Trace], names: Sequence[str], schema: pa.Schema, make: object, into: str) -> Trace:
        """What comes of each combination of the values in the columns `names`."""
        names = tuple(dict.fromkeys(names))
        unknown = list(dict.fromkeys(reason for name in names for reason in before[name].unknown))
        found: list[pa.Array] = []
        for values in itertools.islice(itertools.product(*(before[name].values for name in names)), _MOST_FORMS):
            try:
                value = make(dict(zip(names, values, strict=True)))  # type: ignore[operator]
            except (duckdb.Error, DataHubError, pa.ArrowException, ValueError):
                unknown.append("it cannot be computed from the value alone")
                continue
            if value.null_count:
                unknown.append("the value becomes nothing there")
            else:
                found.append(value)
        return Trace(tuple(found), tuple(dict.fromkeys(unknown)))

    def _evaluated(self, sql: str, kind: pa.DataType, values: Mapping[str, pa.Array]) -> pa.Array:
        table = pa.table({**values, "__one": pa.array([1])})
        self.session.put("input", table)
        made = self.session.query(f"SELECT {sql} AS made FROM input", pa.schema([("made", kind)]))
        return made.column(0).combine_chunks()

    def told(self, schema: pa.Schema, traces: Mapping[str, Trace]) -> Traces:
        pairs: list[tuple[str, str]] = []
        unknown: dict[str, str] = {}
        for name, each in traces.items():
            kind = schema.field(name).type
            for value in each.values:
                try:
                    text = self._evaluated(f"CAST(CAST(value AS {sql_type(kind)}) AS VARCHAR)", pa.string(), {"value": value})
                    pairs.append((name, str(text[0].as_py())))
                except duckdb.Error:
                    unknown[name] = "the value has another type there"
            if each.unknown:
                unknown[name] = "; ".join(each.unknown)
        return Traces(tuple(dict.fromkeys(pairs)), unknown)


def is_faithful(sql: str) -> bool:
    """Whether different values give different results, by the form of an expression over one column; errs to `no`."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except (SqlglotError, RecursionError):
        return False
    return _faithful(tree)


def _faithful(node: exp.Expr) -> bool:
    if isinstance(node, exp.Column):
        return len(node.parts) == 1
    if isinstance(node, exp.Cast | exp.TryCast):
        return node.to.is_type("text", "varchar") and _faithful(node.this)
    if isinstance(node, _JOINING):
        parts = [part for part in node.iter_expressions() if not isinstance(part, exp.Literal)]
        return len(parts) == 1 and _faithful(parts[0])
    if isinstance(node, exp.Anonymous):
        return str(node.name).lower() in _FAITHFUL_FUNCTIONS and len(node.expressions) == 1 and _faithful(node.expressions[0])
    plain = isinstance(node, _FAITHFUL) and all(part is node.this or part.is_int for part in node.iter_expressions())
    return plain and _faithful(node.this)


def _queried(name: str, query: PerKey, node: Node, before: Mapping[str, Trace]) -> Trace:
    """What a column of a query holds, which may hand a column of its input on."""
    used = [origin for _, origin in node.lineage.get(name, ()) if origin in before]
    if not used:
        return Trace()
    # What can be reduced beforehand chooses among rows, and changes none.
    chooses = query.reduce is not None or query.adds is not None
    origin = name if chooses and used == [name] else _handed_on(name, query.sql)
    if origin is not None and origin in used:
        return before[origin]
    return Trace((), ("a query makes it",))


def _handed_on(name: str, sql: str) -> str | None:
    """The column of `input` that a query hands on as `name`, through any selects inside of it; None where it makes another."""
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except (SqlglotError, RecursionError):
        return None
    while isinstance(tree, exp.Select) and not tree.args.get("joins") and not tree.args.get("with_"):
        named = (each for each in tree.selects if each.alias_or_name.casefold() == name.casefold())
        selected: exp.Expr | None = next(named, None)
        if selected is not None:
            selected = selected.unalias()
            if not isinstance(selected, exp.Column):
                return None
            name = selected.name
        elif not tree.is_star:
            return None
        source = tree.args.get("from_")
        inside = source.this if source is not None else None
        if isinstance(inside, exp.Table):
            return name if inside.name == "input" else None
        if not isinstance(inside, exp.Subquery):
            return None
        tree = inside.this
    return None


def _lost(before: Mapping[str, Trace], columns: Iterable[str], reason: str) -> Trace:
    return Trace((), (reason,)) if any(name in before for name in columns) else Trace()


def _merged(traces: Iterable[Trace]) -> Trace:
    found = list(traces)
    values: Iterator[pa.Array] = (value for each in found for value in each.values)
    unique = {(str(value.type), str(value[0])): value for value in values}
    return Trace(tuple(unique.values()), tuple(dict.fromkeys(reason for each in found for reason in each.unknown)))
