"""The logical operators: what a transformation compiles to, and what the compiler's passes work on.

A transformation says *what* happens to rows with these few values; fusing, push-down, join strategy and two-phase
aggregation are the compiler's and come for free to every transformation, also a third party's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa

from beam_datahub.component.asking import Asking
from beam_datahub.component.inspection import Inspect
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.windows import Windowing


class Protection(StrEnum):
    """What a mask does to personal data: nothing of it is left, a stated part is, or it comes back."""

    HIDDEN = "hidden"
    LOWERED = "lowered"
    RESTORED = "restored"


@dataclass(frozen=True)
class Column:
    """An output column and the expression that gives its value.

    `reason` is the dead letter's reason code when the expression fails on a row. `protection`: what the expression does to
    personal data in it, where it is a mask.
    """

    name: str
    expression: Expression
    reason: str = "expression_failed"
    protection: Protection | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"a column's name is text, not {self.name!r}")


@dataclass(frozen=True)
class Check:
    """A condition that every row must meet: a row for which it is false *or null* is rejected.

    `message` is what the dead letter says; `column` the column at fault, where there is one.
    """

    condition: Expression
    message: str
    reason: str = "validation_failed"
    column: str | None = None


@dataclass(frozen=True)
class Rows:
    """Row by row, in SQL: first `keep`, then `checks`, then `columns`.

    A row for which `keep` is false or null is *filtered*; one that breaks a check, or on which an expression fails, is
    *rejected*. `columns` None leaves the columns as they are.
    """

    columns: tuple[Column, ...] | None = None
    keep: Expression | None = None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Applied:
    """What a batch kernel made of a batch.

    `parents[i]` is the row of the input that row i of `batch` comes from, ascending; None when there is one for one.
    `rejected` is a kernels.rejection.REJECTION table whose `row` is a row of the input. Every input row that is neither a
    parent nor rejected counts as filtered; a parent of several rows counts as adding rows.
    """

    batch: pa.RecordBatch
    parents: pa.Array | None = None
    rejected: pa.Table | None = None


class BatchKernel(ABC):
    """A row-wise function over batches that SQL alone does not express; picklable, opened once per worker."""

    def open(self, session: KernelSession) -> None:  # noqa: B027 - opening is optional
        """Prepare; called before the first batch, in the process that runs it."""

    @abstractmethod
    def apply(self, batch: pa.RecordBatch, session: KernelSession) -> Applied:
        """Turn one batch (also an empty one) into another; never keeps state between batches."""

    def depends(self, column: str) -> tuple[str, ...] | None:
        """The columns of the input that decide over a column that it makes of itself; None where chance does as well."""
        return (column,)


@dataclass(frozen=True)
class Apply:
    """Row by row, by a batch kernel. `lineage` maps each output column to the input columns that it comes from.

    `made` are the output columns whose values the kernel makes; it hands the others on as they are (None: it may make all).
    `protection` maps those that it masks to what that does to personal data.
    """

    kernel: BatchKernel
    schema: pa.Schema
    lineage: Mapping[str, tuple[str, ...]]
    can_reject: bool = False
    made: tuple[str, ...] | None = None
    protection: Mapping[str, Protection] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure:
    """One aggregate over plain columns of the input.

    `function` is DuckDB's name, `arguments` columns, `order` (column, descending) pairs inside the aggregate, `where` a
    boolean column. `parameters` are literal SQL arguments after the columns (a quantile's 0.5). `type` is the result's.
    """

    name: str
    function: str
    arguments: tuple[str, ...]
    type: pa.DataType
    distinct: bool = False
    order: tuple[tuple[str, bool], ...] = ()
    where: str | None = None
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aggregate:
    """One row per distinct `keys` (one row in all without keys) with the measures; keys come first, in order.

    With `windowing`, the first two keys are the columns `windows.START` and `windows.END`; rows whose windows merge meet by the
    others.
    """

    keys: tuple[str, ...]
    measures: tuple[Measure, ...]
    windowing: Windowing | None = None


@dataclass(frozen=True)
class PerKey:
    """Rows of equal `keys` meet and one SQL query sees them all, as the relation `input`.

    `sql` reads `input` and gives the output (columns of `schema`). `reduce`, when given, is a query over `input` with
    the input's own columns that may run on any part of the rows beforehand and changes nothing (the first of each key
    now, the first of those later). `keys` empty: all rows meet. `lineage` as in Apply. Rows that do not come out are
    merged away. `adds`, when given, are the columns that `sql` puts behind all those of `input`, which it hands on as they
    are (`select *, …`), reading `uses`: then what nobody needs of the others is left out.
    With `windowing`, rows have the columns `windows.START` and `windows.END`, which `sql` hands on.
    """

    keys: tuple[str, ...]
    sql: str
    schema: pa.Schema
    lineage: Mapping[str, tuple[str, ...]]
    reduce: str | None = None
    adds: pa.Schema | None = None
    uses: tuple[str, ...] = ()
    windowing: Windowing | None = None


class JoinKind(StrEnum):
    """Which rows a join gives."""

    INNER = "inner"
    LEFT = "left"
    RIGHT = "right"
    FULL = "full"
    SEMI = "semi"
    ANTI = "anti"
    ASOF = "asof"


@dataclass(frozen=True)
class Join:
    """Joins the first input (left) with the second (right) on equal `left_keys` and `right_keys`; nulls never match.

    `columns` are the output: (name, side 0 or 1, column of that side); a FULL or RIGHT join takes a key from either
    side where `side` is -1. `asof` is (left column, right column, operator, one of >= > <= <): the nearest match, and of equally
    near ones the first by its other columns. `within` is (left column, right column, before, after), columns of time and
    microseconds: only rows match that lie at most so far before or after the left one.
    `unmatched` and `ambiguous`: what becomes of a left row without a match, or with several, in an enrichment:
    "keep" (as the kind says), "drop" (filtered) or "reject". `asking`: how a source on the right may be asked by keys; None:
    not at all. `why` says why the `strategy` was chosen, where there was a choice.
    """

    kind: JoinKind
    left_keys: tuple[str, ...]
    right_keys: tuple[str, ...]
    columns: tuple[tuple[str, int, str], ...]
    asof: tuple[str, str, str] | None = None
    within: tuple[str, str, int, int] | None = None
    unmatched: str = "keep"
    ambiguous: str = "keep"
    strategy: str | None = None
    windowing: Windowing | None = None
    asking: Asking | None = None
    why: str | None = None


@dataclass(frozen=True)
class Union:
    """All rows of all inputs, in `schema`: a column that an input lacks is null, others are widened."""

    schema: pa.Schema


@dataclass(frozen=True)
class Route:
    """Each row goes to the first branch whose condition is true, or to `default`; without one it is rejected.

    `copy`: to every branch whose condition is true instead.
    """

    branches: tuple[tuple[str, Expression], ...]
    default: str | None = None
    copy: bool = False


Operator = Rows | Apply | Aggregate | PerKey | Join | Union | Route | Inspect
