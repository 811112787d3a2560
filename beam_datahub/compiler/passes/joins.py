"""Join strategy: a small bounded side is broadcast to every worker, otherwise both sides meet by key hash."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from beam_datahub.compiler.lookup import join_sql, nearest_of_ties
from beam_datahub.compiler.plan import Exchange, Node, Plan, Read, Shuffle
from beam_datahub.compiler.rows import ROW
from beam_datahub.component.operators import Check, Column, Join, JoinKind, Rows
from beam_datahub.kernels.expressions import Expression, column
from beam_datahub.kernels.session import KernelSession, single_batch
from beam_datahub.kernels.types import HIDDEN, empty_table, quoted, sql_type

# A side of at most this many bytes at its sources is sent to every worker. Measured on 2 cores: above it, hashing the side anew
# for every batch costs more than the shuffle of both sides.
BROADCAST_BYTES = 16 * 1024 * 1024
_MATCHES = f"{HIDDEN}matches"
_SPREADABLE = (JoinKind.INNER, JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI, JoinKind.ASOF)


def join_strategy(plan: Plan) -> Plan:
    """Choose for every join, and lower those whose sides must meet to a shuffle."""
    nodes: dict[str, Node] = {}
    sizes: dict[str, int | None] = {}
    for node in plan:
        sizes[node.id] = _bytes(node, plan, sizes)
        operator = node.operator
        if not isinstance(operator, Join):
            nodes[node.id] = node
            continue
        size = sizes[plan.node(node.inputs[1]).id]
        streams = operator.windowing is not None and operator.windowing.streams
        if not streams and operator.kind in _SPREADABLE and size is not None and size <= BROADCAST_BYTES:
            nodes[node.id] = node.with_(operator=replace(operator, strategy="broadcast"))
        else:
            nodes.update((each.id, each) for each in _met(node, operator, plan))
    return plan.replaced(nodes)


def _bytes(node: Node, plan: Plan, sizes: dict[str, int | None]) -> int | None:
    """An upper estimate of a node's output from the sizes of its sources; None where one of them is unknown."""
    if isinstance(node.operator, Read):
        return node.operator.estimated_bytes
    known = [sizes[plan.node(reference).id] for reference in node.inputs]
    return None if None in known else sum(size for size in known if size is not None)


def _met(node: Node, join: Join, plan: Plan) -> list[Node]:
    left, right = (plan.node(reference).schema for reference in node.inputs)
    keys = _common_keys(join, left, right)
    exchanges = (Exchange(keys[0], None, left), Exchange(keys[1], None, right))
    checked = join.unmatched == "reject" or join.ambiguous == "reject"
    if not checked:
        sql = join_sql(join, "input", nearest_of_ties(join, "other", right.names), f"l.{ROW} AS {ROW}")
        return [
            node.with_(
                operator=Shuffle(
                    exchanges,
                    sql,
                    node.schema,
                    kind="join",
                    join=replace(join, strategy="co-partition"),
                    windowing=join.windowing,
                )
            )
        ]
    # The matches of each row come along, and a step behind the shuffle refuses rows by their number.
    counted = join_sql(join, "input", f"({_one_per_key(join, right)})", f"r.{_MATCHES} AS {_MATCHES}", f"l.{ROW} AS {ROW}")
    schema = node.schema.append(pa.field(_MATCHES, pa.int64()))
    names = ", ".join(join.left_keys)
    checks = []
    if join.unmatched == "reject":
        checks.append(
            _check(f"{_MATCHES} IS NOT NULL", f"no row of '{node.inputs[1]}' matches on {names}", "missing_reference", names)
        )
    if join.ambiguous == "reject":
        several = f"coalesce({_MATCHES}, 0) <= 1"
        checks.append(_check(several, f"several rows of '{node.inputs[1]}' match on {names}", "ambiguous_reference", names))
    met = node.with_(
        id=f"{node.id}#join",
        operator=Shuffle(exchanges, counted, schema, kind="join", join=replace(join, strategy="co-partition")),
        schema=schema,
    )
    rows = Rows(tuple(Column(name, column(name, schema)) for name in node.schema.names), checks=tuple(checks))
    settled = node.with_(operator=rows, inputs=(met.id,), lineage={name: ((0, name),) for name in node.schema.names})
    return [met, settled]


def _check(sql: str, message: str, reason: str, names: str) -> Check:
    return Check(Expression(message, sql, pa.bool_(), (_MATCHES,), can_fail=False), message, reason, names)


def _one_per_key(join: Join, right: pa.Schema) -> str:
    keys = ", ".join(quoted(key) for key in join.right_keys)
    if join.ambiguous != "reject":
        return f"SELECT *, 1::BIGINT AS {_MATCHES} FROM other"
    rest = "".join(f", any_value({quoted(n)}) AS {quoted(n)}" for n in right.names if n not in join.right_keys)
    return f"SELECT {keys}{rest}, count(*) AS {_MATCHES} FROM other GROUP BY {keys}"


def _common_keys(join: Join, left: pa.Schema, right: pa.Schema) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys of both sides in a type that both share, so that equal values have equal hashes."""
    sides: tuple[list[str], list[str]] = ([], [])
    with KernelSession(threads=1) as session:
        session.put("l", single_batch(empty_table(left)))
        session.put("r", single_batch(empty_table(right)))
        for a, b in zip(join.left_keys, join.right_keys, strict=True):
            shared = session.describe(f"SELECT {quoted(a)} AS k FROM l UNION ALL SELECT {quoted(b)} FROM r").field(0).type
            for side, name, schema in ((sides[0], a, left), (sides[1], b, right)):
                same = schema.field(name).type == shared
                side.append(quoted(name) if same else f"CAST({quoted(name)} AS {sql_type(shared)})")
    return tuple(sides[0]), tuple(sides[1])
