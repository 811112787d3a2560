"""A broadcast join as a step of a stage: the smaller side is held in the kernel session as a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.compiler.rows import ROW, Flow
from beam_datahub.component.operators import Join, JoinKind
from beam_datahub.kernels.ordering import total_order
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.session import KernelSession, conform
from beam_datahub.kernels.types import HIDDEN, quoted

_MATCHES = f"{HIDDEN}matches"
_WORDS = {
    JoinKind.INNER: "JOIN",
    JoinKind.LEFT: "LEFT JOIN",
    JoinKind.RIGHT: "RIGHT JOIN",
    JoinKind.FULL: "FULL JOIN",
    JoinKind.SEMI: "SEMI JOIN",
    JoinKind.ANTI: "ANTI JOIN",
    JoinKind.ASOF: "ASOF LEFT JOIN",
}
_DROPPING = {JoinKind.LEFT: "JOIN", JoinKind.ASOF: "ASOF JOIN"}


def join_sql(join: Join, left: str, right: str, *extra: str) -> str:
    """The join of the relations `left` and `right`, with `extra` select items (over the aliases l and r)."""
    near = _near(join)
    # The nearest row may be too far away: then there is no match.
    select = [_item(join, *column, near=near if join.asof is not None else None) for column in join.columns] + list(extra)
    conditions = [f"l.{quoted(a)} = r.{quoted(b)}" for a, b in zip(join.left_keys, join.right_keys, strict=True)]
    if join.asof is not None:
        conditions.append(f"l.{quoted(join.asof[0])} {join.asof[2]} r.{quoted(join.asof[1])}")
    elif near is not None:
        conditions.append(near)
    on = " AND ".join(conditions) or "true"
    word = _DROPPING.get(join.kind, _WORDS[join.kind]) if join.unmatched == "drop" else _WORDS[join.kind]
    where = f" WHERE {near}" if near is not None and join.asof is not None and join.unmatched == "drop" else ""
    return f"SELECT {', '.join(select)} FROM {left} l {word} {right} r ON {on}{where}"


def _near(join: Join) -> str | None:
    """Whether the time of a right row lies near enough to that of a left one."""
    if join.within is None:
        return None
    left, right = (
        f"epoch_us(CAST({side}.{quoted(name)} AS TIMESTAMP))" for side, name in zip("lr", join.within[:2], strict=True)
    )
    return f"{right} BETWEEN {left} - {join.within[2]} AND {left} + {join.within[3]}"


def nearest_of_ties(join: Join, relation: str, columns: Sequence[str]) -> str:
    """`relation` with one row for each key and value of an as-of join: the first by its other `columns`, so that the answer
    does not hang on the order in which the rows come.
    """
    if join.asof is None:
        return relation
    tied = [*join.right_keys, join.asof[1]]
    order = total_order([], [name for name in columns if name not in tied])
    first = f"row_number() OVER (PARTITION BY {', '.join(map(quoted, tied))} ORDER BY {order}) = 1" if order else ""
    return f"(SELECT * FROM {relation} QUALIFY {first})" if first else f"(SELECT DISTINCT * FROM {relation})"


def _item(join: Join, name: str, side: int, origin: str, near: str | None) -> str:
    if side == -1:
        right = join.right_keys[join.left_keys.index(origin)]
        return f"coalesce(l.{quoted(origin)}, r.{quoted(right)}) AS {quoted(name)}"
    if side == 1 and near is not None:
        return f"CASE WHEN {near} THEN r.{quoted(origin)} END AS {quoted(name)}"
    return f"{'lr'[side]}.{quoted(origin)} AS {quoted(name)}"


class LookupRun:
    """Joins each batch with a table that was loaded once."""

    def __init__(self, step: str, join: Join, side: str, left: pa.Schema, right: pa.Schema, schema: pa.Schema) -> None:
        self.step, self.join, self.side, self.right, self.schema = step, join, side, right, schema
        self._table = f"side_{step}"
        # A lookup that refuses ambiguous keys asks for one row per key and the number of its matches.
        self._counted = join.unmatched != "keep" or join.ambiguous != "keep"
        self._unique = False

    def load(self, table: pa.Table, session: KernelSession) -> None:
        """Take the side's rows."""
        session.put("loading", table)
        keys = ", ".join(quoted(key) for key in self.join.right_keys)
        if self._counted and self.join.ambiguous == "reject":
            wanted = [n for n in self.right.names if n not in self.join.right_keys]
            columns = "".join(f", any_value({quoted(n)}) AS {quoted(n)}" for n in wanted)
            body = f"SELECT {keys}{columns}, count(*) AS {_MATCHES} FROM loading GROUP BY {keys}"
        else:
            body = f"SELECT *, 1 AS {_MATCHES} FROM {nearest_of_ties(self.join, 'loading', self.right.names)}"
        session.create(self._table, body)
        session.drop("loading")
        if keys and self.join.asof is None:
            nulls = " AND ".join(f"{quoted(key)} IS NOT NULL" for key in self.join.right_keys)
            counted = f"SELECT count(*) = count(DISTINCT ({keys})) FROM {quoted(self._table)} WHERE {nulls}"
            self._unique = bool(session.scalar(counted))
        else:
            self._unique = self.join.asof is not None

    def apply(self, flow: Flow, session: KernelSession) -> None:
        """Move the flow through the join and enter what became of each left row in the books."""
        came = flow.table.num_rows
        session.put("input", flow.table.append_column(ROW, pa.array(np.arange(came), pa.int64())))
        one_sided = self.join.kind in (JoinKind.SEMI, JoinKind.ANTI)
        extra = [f"l.{ROW} AS {ROW}", *([] if one_sided else [f"r.{_MATCHES} AS {_MATCHES}"])]
        found = session.fetch(join_sql(self.join, "input", quoted(self._table), *extra))
        refused = self._refuse(flow, found) if not one_sided else 0
        if self._counted:
            found = self._settled(found)
        rows = found[ROW].combine_chunks()
        parents = found.num_rows if self._unique or one_sided else len(pc.unique(rows))
        went = found.num_rows
        flow.books[self.step].add(in_=came, out=went, filtered=came - refused - parents, added=went - parents)
        flow.rows = flow.positions().take(rows)
        flow.table = conform(found.select(self.schema.names), self.schema)

    def _refuse(self, flow: Flow, found: pa.Table) -> int:
        refused = 0
        keys = ", ".join(self.join.left_keys)
        if self.join.unmatched == "reject":
            rows = found[ROW].filter(pc.is_null(found[_MATCHES])).combine_chunks()
            flow.reject(self.step, rejections(rows, "missing_reference", f"no row of '{self.side}' matches on {keys}", keys))
            refused += len(rows)
        if self.join.ambiguous == "reject":
            rows = found[ROW].filter(pc.greater(found[_MATCHES], 1)).combine_chunks()
            message = f"several rows of '{self.side}' match on {keys}"
            flow.reject(self.step, rejections(rows, "ambiguous_reference", message, keys))
            refused += len(rows)
        return refused

    def _settled(self, found: pa.Table) -> pa.Table:
        """`found` without the rows that were refused or dropped."""
        if self.join.unmatched != "keep":
            found = found.filter(pc.is_valid(found[_MATCHES]))
        if self.join.ambiguous == "reject":
            found = found.filter(pc.less_equal(pc.coalesce(found[_MATCHES], 0), 1))
        return found
