"""What quality rules compile to: tests of rows and of whole tables, and the operator that applies them to rows under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.value_forms import ValueForm

if TYPE_CHECKING:
    from beam_datahub.component.operators import Operator

Action = Literal["report", "reject", "fail"]
Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")


@dataclass(frozen=True)
class Probe:
    """Whether each value of `column` has a form that only a library can tell."""

    column: str
    form: ValueForm


@dataclass(frozen=True)
class SameKey:
    """Rows of equal `keys` meet, and the hidden column `adds` is `sql`, a window over each of these groups.

    `uses` are the columns that `sql` reads.
    """

    keys: tuple[str, ...]
    adds: str
    sql: str
    uses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lookup:
    """Rows meet those of the input `reference` on equal keys, of which there is then one for each.

    `adds` maps a hidden column to (aggregate function, column of the reference): what is found there, null where there is
    no such key.
    """

    reference: str
    left_keys: tuple[str, ...]
    right_keys: tuple[str, ...]
    adds: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class RowTest:
    """A test of single rows: of those for which `applies` holds, the ones fail for which `passes` is false, null or an error, or
    whose value does not have the form of one of the `probes`. `passes` is None where the probes say it all.

    `message` says what is wrong with a row that fails; `column` is the one at fault, where there is one. `mark` brings
    hidden columns along that `passes` reads, for a test that one row alone does not decide.
    """

    passes: Expression | None
    message: str
    applies: Expression | None = None
    column: str | None = None
    probes: tuple[Probe, ...] = ()
    mark: SameKey | Lookup | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the step that the test reads."""
        used = [name for expression in (self.passes, self.applies) if expression for name in expression.columns]
        used += [probe.column for probe in self.probes]
        if isinstance(self.mark, SameKey):
            used += [*self.mark.keys, *self.mark.uses]
        elif isinstance(self.mark, Lookup):
            used += self.mark.left_keys
        made = set([self.mark.adds] if isinstance(self.mark, SameKey) else self.mark.adds if self.mark else ())
        return tuple(name for name in dict.fromkeys(used) if name not in made)


@dataclass(frozen=True)
class RowCount:
    """A test of a whole table: how many rows there are for which `applies` holds."""

    least: int | None = None
    most: int | None = None
    applies: Expression | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the step that the test reads."""
        return self.applies.columns if self.applies else ()

    def judge(self, rows: int, newest: float | None, now: datetime) -> tuple[bool, str]:
        """Whether the table passes, and what was found."""
        fine = (self.least is None or rows >= self.least) and (self.most is None or rows <= self.most)
        return fine, f"{rows:,} row{'' if rows == 1 else 's'}"


@dataclass(frozen=True)
class Newest:
    """A test of a whole table: the newest value of `column` (of rows for which `applies` holds) is at most so old."""

    column: str
    most_seconds: float
    as_of: datetime | None = None
    applies: Expression | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the step that the test reads."""
        return tuple(dict.fromkeys([self.column, *(self.applies.columns if self.applies else ())]))

    def judge(self, rows: int, newest: float | None, now: datetime) -> tuple[bool, str]:
        """Whether the table passes, and what was found; `newest` in seconds since 1970, UTC."""
        if newest is None:
            return False, "there is no value"
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=newest)
        age = ((self.as_of or now) - moment).total_seconds()
        old = f"{timedelta(seconds=round(age))} old" if age >= 0 else f"{timedelta(seconds=round(-age))} ahead"
        return age <= self.most_seconds, f"the newest is {moment:%Y-%m-%d %H:%M:%S} UTC, {old}"


@dataclass(frozen=True)
class Settled:
    """A test whose outcome is known before anything runs: the schema of a step."""

    fine: bool
    detail: str

    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A test of a whole table: `operators` make one row of it, whose only column is `name`; `passes` holds in that row.

    `limits` says between what it must lie. `columns` are those of the step that the operators read.
    """

    name: str
    passes: Expression
    operators: tuple[Operator, ...]
    columns: tuple[str, ...]
    limits: str
    applies: None = None


Test = RowTest | RowCount | Newest | Figure | Settled


@dataclass(frozen=True)
class Judged:
    """A rule of a step: its name in the spec, its test, and what becomes of a row that fails.

    `counted`: whether its figures are taken here; a rule that two operators apply counts in one of them.
    """

    name: str
    test: RowTest | RowCount | Newest | Figure
    action: Action = "report"
    severity: Severity = "medium"
    counted: bool = True


@dataclass(frozen=True)
class Inspect:
    """Row by row: applies all rules of a step at once.

    `refuses`: rows that fail a rule whose action is reject are rejected. `records`: rows that fail another leave as
    violations, with the names of all rules that they fail. `drops` are hidden columns that end here. `beside`: the node that
    feeds this one and others; here its rows end. `masks` are columns with SQL of what of them may stand in a violation.
    """

    rules: tuple[Judged, ...]
    refuses: bool = True
    records: bool = True
    drops: tuple[str, ...] = ()
    beside: str | None = None
    masks: tuple[tuple[str, str], ...] = ()

    @property
    def can_reject(self) -> bool:
        """Whether it may send rows to the dead letter."""
        return self.refuses and any(rule.action == "reject" for rule in self.rules)

    @property
    def can_record(self) -> bool:
        """Whether it may send rows to the violations."""
        return self.records and any(isinstance(r.test, RowTest) and r.action != "reject" for r in self.rules)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that its rules read."""
        return tuple(dict.fromkeys(name for rule in self.rules for name in _read(rule)))


def _read(rule: Judged) -> tuple[str, ...]:
    test: Any = rule.test
    marks: tuple[str, ...] = ()
    if isinstance(test, Figure):
        return (test.name,)
    if isinstance(test, RowTest) and test.mark is not None:
        marks = (test.mark.adds,) if isinstance(test.mark, SameKey) else tuple(test.mark.adds)
    return (*test.columns, *marks)
