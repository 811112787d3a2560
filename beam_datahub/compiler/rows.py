"""Runs `Rows` steps over batches: fused and plain at first, step by step with an error mask where that raises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.compiler.findings import Findings
from beam_datahub.component.operators import Rows
from beam_datahub.kernels.expressions import Expression, error_mask_sql
from beam_datahub.kernels.rejection import REJECTION
from beam_datahub.kernels.session import KernelSession, conform, decoded
from beam_datahub.kernels.types import HIDDEN, literal, quoted

if TYPE_CHECKING:
    from beam_datahub.compiler.asking import Asked

ROW = f"{HIDDEN}row"
_OK = f"{HIDDEN}ok"
# How many failing rows of one reason in a batch are run singly to get the engine's own words.
_SAMPLED_MESSAGES = 3
# So many steps make one query at most: DuckDB refuses queries that nest a thousand deep.
_LONGEST_RUN = 64


@dataclass
class Tally:
    """What became of the rows that a step took in: the terms of its books."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, **terms: int) -> None:
        """Add to the terms `read`, `in`, `out`, `filtered`, `rejected`, `added`, `merged`."""
        self.counts.update({name.rstrip("_"): count for name, count in terms.items() if count})


@dataclass
class Flow:
    """Rows under way through a stage: the table, for each row its position in the stage's input (None: unchanged),
    the rejections so far (positions of the stage's input), the books, and what quality rules found. `marks` are columns that
    a run's query found for the quality rules behind it; `asked` is what lookups asked of their sources.
    """

    table: pa.Table
    rows: pa.Array | None
    rejected: list[tuple[str, pa.Table]]
    books: dict[str, Tally]
    findings: Findings = field(default_factory=Findings)
    marks: pa.Table | None = None
    asked: list[Asked] = field(default_factory=list)

    def positions(self) -> pa.Array:
        """The position of each row in the stage's input."""
        return self.rows if self.rows is not None else pa.array(np.arange(self.table.num_rows), pa.int64())

    def keep(self, mask: pa.ChunkedArray | pa.Array) -> None:
        """Keep the rows for which `mask` is true."""
        self.rows = self.positions().filter(flat(mask))
        self.table = self.table.filter(mask)

    def reject(self, step: str, found: pa.Table) -> None:
        """Record rejections whose `row` counts the flow's present rows; they are not taken out here."""
        if not found.num_rows:
            return
        rows = self.positions().take(flat(found["row"]))
        self.rejected.append((step, found.set_column(0, REJECTION.field("row"), rows)))
        self.books[step].add(rejected=found.num_rows)


def flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array: of one without chunks, pyarrow 25 crashes in `indices_nonzero`."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def can_follow(run: Sequence[Rows], step: Rows) -> bool:
    """Whether `step` may join the fused query of `run` without changing the answer.

    Only the first step of a run may drop rows: DuckDB would else be free to drop a row before the step that refuses it.
    """
    plain = step.keep is None and not step.checks and not any(earlier.checks for earlier in run)
    return plain and len(run) < _LONGEST_RUN


class RowsRun:
    """Neighbouring `Rows` steps that run as one query; `track` asks it to say which rows survived."""

    def __init__(self, steps: Sequence[tuple[str, Rows]], schemas: Sequence[pa.Schema], *, track: bool) -> None:
        self.steps = tuple(steps)
        self.schemas = tuple(schemas)
        self._drops = steps[0][1].keep is not None
        self._checks = bool(steps[0][1].checks)
        self._track = track and self._drops
        self._sql = self._fused([ROW] if self._track else [])
        self._over = self._fused([])
        self._picked = self._picks()
        self._marks: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The schema that comes out."""
        return self.schemas[-1]

    def mark(self, marks: Mapping[str, str]) -> bool:
        """Find `marks` (column → SQL over the rows that come out; it never fails) in the run's query; False where it has none."""
        if self._picked is not None:
            return False
        self._marks = tuple(marks)
        found = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in marks.items())
        self._sql, self._over = (f"SELECT *, {found} FROM ({sql})" for sql in (self._sql, self._over))
        return True

    def _picks(self) -> list[str] | None:
        """The input column behind each output column of a run that only picks and renames, which needs no query."""
        picked: dict[str, str] | None = None
        for _, step in self.steps:
            if step.keep is not None or step.checks or (step.columns and not all(c.expression.is_column for c in step.columns)):
                return None
            if step.columns is not None:
                names = {column.name: column.expression.columns[0] for column in step.columns}
                picked = names if picked is None else {name: picked[origin] for name, origin in names.items()}
        return list(picked.values()) if picked is not None else None

    def _fused(self, hidden: list[str]) -> str:
        """One query for the whole run that keeps columns which are `hidden`. A column that can fail and is then left out is
        computed all the same, so that a row which the step refuses is refused also when nobody looks at the column.
        """
        query, forced = "input", 0
        known: list[str] = []
        for _, step in self.steps:
            where = f" WHERE {step.keep.sql}" if step.keep is not None else ""
            if step.columns is None and not step.checks:
                query = f"(SELECT * FROM {query}{where})" if where else query
                continue
            passed = {c.expression.columns[0] for c in step.columns or () if c.expression.is_column}
            select = [quoted(name) for name in hidden]
            for name in [name for name in known if name not in passed] if step.columns is not None else []:
                forced += 1
                hidden.append(f"{HIDDEN}forced_{forced}")
                select.append(f"{quoted(name)} AS {quoted(hidden[-1])}")
            if step.columns is None:
                select = ["*"]
            else:
                select += [f"{column.expression.sql} AS {quoted(column.name)}" for column in step.columns]
                known = [column.name for column in step.columns if column.expression.can_fail]
            if step.checks:
                conditions = " AND ".join(f"coalesce(({check.condition.sql}), false)" for check in step.checks)
                select.append(f"({conditions}) AS {quoted(_OK)}")
                hidden.append(_OK)
            query = f"(SELECT {', '.join(select)} FROM {query}{where})"
        return query[1:-1] if query.startswith("(") else f"SELECT * FROM {query}"

    def apply(self, flow: Flow, session: KernelSession) -> None:
        """Move the flow through the run."""
        before = flow.table.num_rows
        if self._picked is not None:
            flow.table = conform(flow.table.select(self._picked).rename_columns(self.schema.names), self.schema)
            for step, _ in self.steps:
                flow.books[step].add(in_=before, out=before)
            return
        table = flow.table
        if self._track:
            table = table.append_column(ROW, pa.array(np.arange(before), pa.int64()))
        session.put("input", table)
        try:
            found = session.fetch(self._sql)
        except duckdb.Error as error:
            if is_fatal(error):
                raise
            flow.table = decoded(flow.table)
            for index, (step, rows) in enumerate(self.steps):
                _StepByStep(step, rows, self.schemas[index]).apply(flow, session)
            return
        self._settle(flow, found, before, session)

    @property
    def queries(self) -> bool:
        """Whether it runs a query, and does not just pick columns."""
        return self._picked is None

    def read(self, flow: Flow, relation: str, rows: int, session: KernelSession) -> bool:
        """Run over the `rows` records that `relation` selects, which become the flow's; False, with the flow untouched, where
        that fails or would refuse one.
        """
        try:
            found = session.fetch(f"WITH input AS NOT MATERIALIZED ({relation}) {self._over}")
        except duckdb.Error:
            return False
        if self._checks and not pc.all(found[_OK], min_count=0).as_py():
            return False
        flow.books[self.steps[0][0]].add(in_=rows, filtered=rows - found.num_rows)
        self._enter(flow, found)
        return True

    def _settle(self, flow: Flow, found: pa.Table, before: int, session: KernelSession) -> None:
        first, kept = self.steps[0][0], found.num_rows
        flow.books[first].add(in_=before, filtered=before - kept)
        if self._track:
            flow.rows = flow.positions().take(flat(found[ROW]))
        if self._checks and not pc.all(found[_OK], min_count=0).as_py():
            ok = flat(found[_OK])
            _report_checks(flow, first, self.steps[0][1], flow.table, pc.indices_nonzero(pc.invert(ok)), session)
            flow.rows = flow.positions().filter(ok)
            found = found.filter(ok)
        self._enter(flow, found)

    def _enter(self, flow: Flow, found: pa.Table) -> None:
        flow.marks = found.select(self._marks) if self._marks else None
        for step, _ in self.steps:
            if step != self.steps[0][0]:
                flow.books[step].add(in_=found.num_rows)
            flow.books[step].add(out=found.num_rows)
        flow.table = conform(found.select(self.schema.names), self.schema)


def without_mixed(steps: Sequence[tuple[str, Rows]]) -> list[tuple[str, Rows]]:
    """`steps` with one that both filters and checks taken apart, filter first, so that a run only ever does one."""
    parts: list[tuple[str, Rows]] = []
    for step, rows in steps:
        if rows.keep is not None and rows.checks:
            parts += [(f"{step}#where", Rows(keep=rows.keep)), (step, replace(rows, keep=None))]
        else:
            parts.append((step, rows))
    return parts


class _StepByStep:
    """One `Rows` step with an error mask for each expression; the definition that the fused query must agree with."""

    def __init__(self, step: str, rows: Rows, schema: pa.Schema) -> None:
        self.step, self.rows, self.schema = step, rows, schema

    def apply(self, flow: Flow, session: KernelSession) -> None:
        books = flow.books[self.step]
        books.add(in_=flow.table.num_rows)
        if self.rows.keep is not None:
            self._refuse(flow, [("", "expression_failed", self.rows.keep)], session)
            session.put("input", flow.table)
            kept = session.fetch(f"SELECT coalesce(({self.rows.keep.sql}), false) AS k FROM input")["k"]
            books.add(filtered=len(kept) - pc.sum(kept).as_py() if len(kept) else 0)
            flow.keep(kept)
        if self.rows.checks:
            self._refuse(flow, [(c.column or "", c.reason, c.condition) for c in self.rows.checks], session)
            session.put("input", flow.table)
            conditions = " AND ".join(f"coalesce(({check.condition.sql}), false)" for check in self.rows.checks)
            ok = flat(session.fetch(f"SELECT ({conditions}) AS k FROM input")["k"])
            _report_checks(flow, self.step, self.rows, flow.table, pc.indices_nonzero(pc.invert(ok)), session)
            flow.keep(ok)
        if self.rows.columns is not None:
            self._refuse(flow, [(c.name, c.reason, c.expression) for c in self.rows.columns], session)
            session.put("input", flow.table)
            select = ", ".join(f"{c.expression.sql} AS {quoted(c.name)}" for c in self.rows.columns)
            flow.table = session.query(f"SELECT {select} FROM input", self.schema)
        books.add(out=flow.table.num_rows)

    def _refuse(self, flow: Flow, wanted: Sequence[tuple[str, str, Expression]], session: KernelSession) -> bool:
        """Reject the rows on which one of the expressions fails; the first that fails gives the reason."""
        risky = [item for item in wanted if item[2].can_fail]
        if not risky:
            return False
        session.put("input", flow.table)
        masks = session.fetch(
            "SELECT " + ", ".join(f"({error_mask_sql(e.sql)}) AS m{i}" for i, (_, _, e) in enumerate(risky)) + " FROM input"
        )
        taken: pa.Array | None = None
        for i, (column, reason, expression) in enumerate(risky):
            mask = flat(masks[f"m{i}"])
            fresh = mask if taken is None else pc.and_(mask, pc.invert(taken))
            taken = mask if taken is None else pc.or_(taken, mask)
            bad = pc.indices_nonzero(fresh)
            if len(bad):
                flow.reject(self.step, explain(flow.table.take(bad), bad, column or None, reason, expression, session))
        if taken is None or not pc.any(taken).as_py():
            return False
        flow.keep(pc.invert(taken))
        return True


def explain(
    bad: pa.Table, rows: pa.Array, column: str | None, reason: str, expression: Expression, session: KernelSession
) -> pa.Table:
    """Rejections for `bad` with what the expression was given, and for the first few the engine's own words."""
    session.put("bad", bad)
    given = " || ', ' || ".join(
        f"{literal(name + ' = ')} || coalesce(left(CAST({quoted(name)} AS VARCHAR), 80), 'null')" for name in expression.columns
    )
    text = literal(f"{expression.text[:120]}: fails for ") if given else literal(f"{expression.text[:120]}: fails")
    messages = session.fetch(f"SELECT {text}{' || ' + given if given else ''} AS m FROM bad")["m"].to_pylist()
    for i in range(min(_SAMPLED_MESSAGES, bad.num_rows)):
        session.put("bad", bad.slice(i, 1))
        try:
            session.fetch(f"SELECT {expression.sql} FROM bad")
        except duckdb.Error as error:
            messages[i] += f" ({engine_words(error)})"
    count = bad.num_rows
    return pa.table(
        [rows.cast(pa.int64()), pa.array([reason] * count), pa.array(messages), pa.array([column] * count, pa.string())],
        schema=REJECTION,
    )


def _report_checks(flow: Flow, step: str, rows: Rows, table: pa.Table, refused: pa.Array, session: KernelSession) -> None:
    """Reject rows for every check that they break, in one record each: all messages, the first reason and column."""
    if not len(refused):
        return
    session.put("bad", table.take(refused))
    broken = [f"NOT coalesce(({check.condition.sql}), false)" for check in rows.checks]
    messages = ", ".join(f"CASE WHEN {b} THEN {literal(c.message)} END" for b, c in zip(broken, rows.checks, strict=True))
    reasons = " ".join(f"WHEN {b} THEN {literal(c.reason)}" for b, c in zip(broken, rows.checks, strict=True))
    columns = " ".join(
        f"WHEN {b} THEN {literal(c.column) if c.column else 'NULL'}" for b, c in zip(broken, rows.checks, strict=True)
    )
    found = session.fetch(
        f"SELECT CASE {reasons} END AS r, concat_ws('; ', {messages}) AS m, CAST(CASE {columns} END AS VARCHAR) AS c FROM bad"
    )
    flow.reject(step, pa.table([refused.cast(pa.int64()), found["r"], found["m"], found["c"]], schema=REJECTION))


def engine_words(error: duckdb.Error) -> str:
    """The useful sentence of a DuckDB error: no error class, no dump of the statement."""
    first = str(error).split("\n", 1)[0]
    return first.split(": ", 1)[-1].split(" when casting from source column")[0].strip()[:300]


def is_fatal(error: duckdb.Error) -> bool:
    """Whether an error is not about some row's values, so that masks would not help."""
    return isinstance(error, duckdb.OutOfMemoryException | duckdb.InternalException | duckdb.IOException | duckdb.BinderException)
