"""Applies the quality rules of a step to batches: one query at most for all of them, then figures, rejects and violations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.compiler.findings import Broken, Findings
from beam_datahub.compiler.plan import BESIDE, RULES
from beam_datahub.compiler.rows import Flow, RowsRun, flat
from beam_datahub.component.inspection import SEVERITIES, Figure, Inspect, Judged, Newest, RowTest
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.masking import masked
from beam_datahub.kernels.rejection import REJECTION
from beam_datahub.kernels.session import KernelSession, conform
from beam_datahub.kernels.types import HIDDEN, is_hidden, quoted

REASON = "quality_rule"


class InspectRun:
    """The rules of a step as a part of a stage."""

    def __init__(self, step: str, inspect: Inspect, schema: pa.Schema) -> None:
        self.step, self.inspect, self.schema = step, inspect, schema
        self.marks = self._marks()
        self._fused = False

    def follow(self, run: RowsRun) -> None:
        """Let the query of the run before bring the marks along: one query is cheaper than two."""
        self._fused = bool(self.marks) and run.mark(self.marks)

    def _marks(self) -> dict[str, str]:
        """Hidden column → SQL, for each rule the rows that it is about (`a…`), and those that fail (`f…`); none ever fails."""
        found = {}
        for index, rule in enumerate(self.inspect.rules):
            applies = rule.test.applies
            if applies is not None and _filled(applies) is None:
                found[_about(index)] = f"coalesce({_tried(applies)}, false)"
            if isinstance(rule.test, RowTest | Figure) and rule.test.passes is not None:
                fails = f"NOT coalesce({_tried(rule.test.passes)}, false)"
                if applies is not None:
                    about = applies.sql if _filled(applies) is not None else f"coalesce({_tried(applies)}, false)"
                    fails = f"{about} AND {fails}"
                found[_fails(index)] = f"({fails})"
        return found

    def apply(self, flow: Flow, session: KernelSession) -> None:
        """Move the flow past the rules: what they reject stays behind, what else fails is found."""
        books = flow.books[self.step]
        books.add(in_=flow.table.num_rows)
        marks = flow.marks if self._fused else None
        flow.marks = None
        if marks is None and flow.table.num_rows and self.marks:
            session.put("input", flow.table)
            marks = session.fetch(f"SELECT {', '.join(f'{sql} AS {name}' for name, sql in self.marks.items())} FROM input")
        failing = self._failing(flow.table, marks, flow.findings) if flow.table.num_rows else {}
        if failing:
            self._settle(flow, failing, session)
        if self.inspect.drops:
            flow.table = conform(flow.table.select(self.schema.names), self.schema)
        books.add(out=flow.table.num_rows)
        if self.inspect.beside is not None:
            # Nothing comes behind: the rows go their way elsewhere.
            flow.rows, flow.table = pa.array([], pa.int64()), flow.table.slice(0, 0)

    def _failing(self, table: pa.Table, marks: pa.Table | None, findings: Findings) -> dict[int, pa.Array]:
        """Rule → mask of the rows that fail, for each that some fail; the figures are taken on the way."""
        known = {name: flat(marks[name]) for name in self.marks} if marks is not None else {}
        failing = {}
        for index, rule in enumerate(self.inspect.rules):
            about = known.get(_about(index))
            mask = known.get(_fails(index))
            for probe in rule.test.probes if isinstance(rule.test, RowTest) else ():
                # Null is for a null, which the rule is not about.
                wrong = pc.invert(pc.fill_null(probe.form.mask(flat(table[probe.column])), True))
                wrong = pc.and_(about, wrong) if about is not None else wrong
                mask = pc.or_(mask, wrong) if mask is not None else wrong
            failed = mask.true_count if mask is not None else 0
            if failed and isinstance(rule.test, RowTest):
                failing[index] = mask
            if rule.counted:
                tally = findings.tally(rule.name)
                tally.checked += _checked(rule, table, about)
                tally.failed += failed
                if isinstance(rule.test, Figure):
                    tally.figure = _figure(table[rule.test.name][0].as_py())
                if isinstance(rule.test, Newest):
                    newest = _newest(table[rule.test.column], about)
                    if newest is not None:
                        tally.newest = newest if tally.newest is None else max(tally.newest, newest)
        return failing

    def _settle(self, flow: Flow, failing: dict[int, pa.Array], session: KernelSession) -> None:
        rules = self.inspect.rules
        recorded = [mask for i, mask in failing.items() if rules[i].action != "reject"] if self.inspect.records else []
        refused = [mask for i, mask in failing.items() if rules[i].action == "reject"] if self.inspect.refuses else []
        if recorded:
            rows = pc.indices_nonzero(_any(recorded)).cast(pa.int64())
            names, severities, messages, _ = self._told(failing, rows)
            shown = flow.table.select([name for name in flow.table.schema.names if not is_hidden(name)])
            step = self.step.split(RULES)[0].removeprefix(BESIDE)
            shown = masked(shown.take(rows), dict(self.inspect.masks), session)
            found = Broken(step, flow.positions().take(rows), shown, names, severities, messages)
            flow.findings.broken.append(found)
            flow.books[self.step].add(violating=len(rows))
        if refused:
            mask = _any(refused)
            rows = pc.indices_nonzero(mask).cast(pa.int64())
            _, _, messages, columns = self._told(failing, rows)
            flow.reject(self.step, pa.table([rows, pa.array([REASON] * len(rows)), messages, columns], schema=REJECTION))
            flow.keep(pc.invert(mask))

    def _told(self, failing: dict[int, pa.Array], rows: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
        """For each of the rows: the names of all rules that it fails, the worst severity, what is wrong, and the column."""
        indices = list(failing)
        bits = np.stack([np.asarray(failing[i].take(rows).to_numpy(zero_copy_only=False)) for i in indices], axis=1)
        # Few combinations of rules for many rows: each is put into words once.
        packed = np.packbits(bits, axis=1)
        _, first, which = np.unique(packed, axis=0, return_index=True, return_inverse=True)
        combinations = [[self.inspect.rules[i] for i, bit in zip(indices, bits[row], strict=True) if bit] for row in first]
        which = pa.array(which.reshape(-1), pa.int64())

        def each(tell: Callable[[Sequence[Judged]], object], kind: pa.DataType) -> pa.Array:
            return pa.array([tell(combination) for combination in combinations], kind).take(which)

        return (
            each(lambda broken: [rule.name for rule in broken], pa.list_(pa.string())),
            each(lambda broken: max((rule.severity for rule in broken), key=SEVERITIES.index), pa.string()),
            each(lambda broken: "; ".join(map(_words, broken)), pa.string()),
            each(_column, pa.string()),
        )


def _about(index: int) -> str:
    return f"{HIDDEN}a{index}"


def _fails(index: int) -> str:
    return f"{HIDDEN}f{index}"


def _tried(expression: Expression) -> str:
    return f"TRY({expression.sql})" if expression.can_fail else f"({expression.sql})"


def _filled(applies: Expression) -> str | None:
    """The column, where a test is about all rows that have a value in it: then they need no query to be counted."""
    name = applies.columns[0] if len(applies.columns) == 1 else None
    return name if name is not None and applies.sql == f"{quoted(name)} IS NOT NULL" else None


def _checked(rule: Judged, table: pa.Table, about: pa.Array | None) -> int:
    if about is not None:
        return int(about.true_count)
    applies = rule.test.applies
    empty: int = table[_filled(applies)].null_count if applies is not None else 0
    count: int = table.num_rows
    return count - empty


def _figure(value: object) -> str | None:
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else None if value is None else str(value)


def _newest(column: pa.ChunkedArray, about: pa.Array | None) -> float | None:
    """The greatest moment of a column of dates or timestamps, in seconds since 1970."""
    found = pc.max(column.filter(about) if about is not None else column)
    return found.cast(pa.timestamp("us")).value / 1e6 if found.is_valid else None


def _any(masks: Sequence[pa.Array]) -> pa.Array:
    found = masks[0]
    for mask in masks[1:]:
        found = pc.or_(found, mask)
    return found


def _words(rule: Judged) -> str:
    return f"{rule.name}: {rule.test.message}" if isinstance(rule.test, RowTest) else rule.name


def _column(broken: Sequence[Judged]) -> str | None:
    """The column at fault of the first rule that rejects, or of the first."""
    ordered = sorted(broken, key=lambda rule: rule.action != "reject")
    return next((rule.test.column for rule in ordered if isinstance(rule.test, RowTest)), None)
