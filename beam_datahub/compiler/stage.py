"""Runs a stage, the row-wise steps that were fused, over one batch after the other; knows no Beam."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.compiler.asking import Asked, AskRun
from beam_datahub.compiler.findings import Findings
from beam_datahub.compiler.inspect import InspectRun
from beam_datahub.compiler.lookup import LookupRun
from beam_datahub.compiler.plan import Ask, Stage, needs_positions
from beam_datahub.compiler.rows import Flow, RowsRun, Tally, can_follow, without_mixed
from beam_datahub.component.inspection import Inspect
from beam_datahub.component.operators import Apply, Join, Rows
from beam_datahub.errors import DataHubError, StepFailed
from beam_datahub.kernels.session import KernelSession, conform, single_batch


@dataclass(frozen=True)
class StageResult:
    """What came of a batch: the rows that go on, the input position of each (None: unchanged), the rejections per step
    (`row` is an input position), the books per step, what quality rules found, and what was asked of sources.
    """

    table: pa.Table
    rows: pa.Array | None
    rejected: Sequence[tuple[str, pa.Table]]
    books: dict[str, Tally]
    findings: Findings
    asked: Sequence[Asked] = ()


class ApplyRun:
    """A batch kernel as a step of a stage."""

    def __init__(self, step: str, apply: Apply) -> None:
        self.step, self.schema, self._kernel = step, apply.schema, apply.kernel

    def open(self, session: KernelSession) -> None:
        """Open the kernel."""
        self._kernel.open(session)

    def apply(self, flow: Flow, session: KernelSession) -> None:
        """Move the flow through the kernel and enter what became of each row in the books."""
        batch = single_batch(flow.table)
        try:
            found = self._kernel.apply(batch, session)
        except DataHubError:
            raise
        except Exception as error:
            raise StepFailed(f"step '{self.step}' broke: {type(error).__name__}: {error}") from error
        refused = 0
        if found.rejected is not None and found.rejected.num_rows:
            flow.reject(self.step, found.rejected)
            refused = found.rejected.num_rows
        came, went = batch.num_rows, found.batch.num_rows
        parents = came - refused if found.parents is None else len(pc.unique(found.parents))
        flow.books[self.step].add(in_=came, out=went, filtered=came - refused - parents, added=went - parents)
        if found.parents is not None:
            flow.rows = flow.positions().take(found.parents)
        flow.table = conform(pa.Table.from_batches([found.batch]), self.schema)


class StageRunner:
    """Runs the steps of a stage. `track`: say for every row that goes on which input row it comes from."""

    def __init__(self, stage: Stage, *, track: bool) -> None:
        self.runs: list[RowsRun | ApplyRun | LookupRun | AskRun | InspectRun] = []
        pending: list[tuple[str, Rows]] = []
        schemas: list[pa.Schema] = []

        def flush(needed: bool) -> None:
            if pending:
                self.runs.append(RowsRun(pending, schemas, track=needed))
                pending.clear()
                schemas.clear()

        for index, ((step, operator), schema) in enumerate(zip(stage.steps, stage.schemas[1:], strict=True)):
            needed = track or any(needs_positions(later) for _, later in stage.steps[index:])
            if isinstance(operator, Rows):
                parts = without_mixed([(step, operator)])
                for part, rows in parts:
                    if pending and not can_follow([earlier for _, earlier in pending], rows):
                        flush(needed)
                    pending.append((part, rows))
                    schemas.append(schema if (part, rows) == parts[-1] else stage.schemas[index])
                continue
            flush(needed)
            if isinstance(operator, Apply):
                self.runs.append(ApplyRun(step, operator))
            elif isinstance(operator, Inspect):
                inspect = InspectRun(step, operator, schema)
                if self.runs and isinstance(before := self.runs[-1], RowsRun):
                    inspect.follow(before)
                self.runs.append(inspect)
            elif isinstance(operator, Ask):
                self.runs.append(AskRun(step, operator, stage.schemas[index], schema))
            elif isinstance(operator, Join):
                side, side_schema = stage.sides[step]
                self.runs.append(LookupRun(step, operator, side, stage.schemas[index], side_schema, schema))
            else:
                raise TypeError(f"{type(operator).__name__} is no row-wise operator")
        flush(track)

    @property
    def lookups(self) -> list[LookupRun]:
        """The broadcast joins, which want their tables before the first batch."""
        return [run for run in self.runs if isinstance(run, LookupRun)]

    @property
    def takes_dictionaries(self) -> bool:
        """Whether the input may have dictionary-encoded columns: a query decodes what it hands on."""
        return bool(self.runs) and isinstance(self.runs[0], RowsRun)

    @property
    def takes_relations(self) -> bool:
        """Whether the first query may read a relation: what comes behind it can be run again over the same records."""
        again = all(isinstance(run, RowsRun | LookupRun | InspectRun) for run in self.runs[1:])
        return bool(self.runs) and isinstance(first := self.runs[0], RowsRun) and first.queries and again

    def open(self, session: Callable[[], KernelSession]) -> None:
        """Prepare the kernels, in the process that runs them; `session` gives theirs, to those that want one."""
        for run in self.runs:
            if isinstance(run, ApplyRun | AskRun):
                run.open(session())

    def run(self, table: pa.Table, session: KernelSession) -> StageResult:
        """Run one batch through all steps."""
        flow = Flow(table, None, [], defaultdict(Tally))
        for run in self.runs:
            run.apply(flow, session)
        return StageResult(flow.table, flow.rows, flow.rejected, flow.books, flow.findings, flow.asked)

    def read(self, relation: str, rows: int, reader: KernelSession, session: Callable[[], KernelSession]) -> StageResult | None:
        """Run the `rows` records of a relation, which `reader` reads, through all steps; None where a step wants to know more of
        one of them than the relation tells, as where it comes from: then nothing has happened.
        """
        first, *others = self.runs
        flow = Flow(pa.table({}), None, [], defaultdict(Tally))
        if not isinstance(first, RowsRun) or not first.read(flow, relation, rows, reader):
            return None
        for run in others:
            run.apply(flow, session())
        if flow.rejected or flow.findings.broken:
            return None
        return StageResult(flow.table, None, (), flow.books, flow.findings)
