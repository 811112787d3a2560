"""Tells the records that share a key with another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pyarrow as pa

from beam_datahub.component.columns import Names, find_columns
from beam_datahub.component.config import Config
from beam_datahub.component.inspection import RowTest, SameKey
from beam_datahub.component.registry import register
from beam_datahub.component.rule import Rule, RuleExample, RuleScope
from beam_datahub.errors import MissingValue
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.types import quoted


class UniquenessConfig(Config):
    """Options of a uniqueness rule."""

    field: Names
    """The column whose values must differ, or a list of columns whose combinations must."""

    nulls: Literal["distinct", "equal"] = "distinct"
    """How nulls compare: each is `distinct`, as in SQL, so that a record with a null in the key is not checked; or all are
    `equal` to each other."""


@register("rule", "uniqueness", since="0.1.0")
class Uniqueness(Rule):
    """No two records have the same key; all that share one fail, not just the later ones. It is exact, not estimated."""

    Config = UniquenessConfig
    config: UniquenessConfig
    examples = (
        RuleExample(
            title="A key",
            options={"field": "id"},
            given=[{"id": 1, "n": "a"}, {"id": 2, "n": "b"}, {"id": 1, "n": "c"}, {"id": None, "n": "d"}, {"id": None, "n": "e"}],
            shown="n",
            fails=("a", "c"),
        ),
        RuleExample(
            title="Several columns together",
            options={"field": ["country", "day"]},
            given=[{"country": "DE", "day": 1}, {"country": "DE", "day": 2}, {"country": "FR", "day": 1}],
            shown="day",
            fails=(),
        ),
        RuleExample(
            title="One open order for each customer",
            options={"field": "customer", "nulls": "equal"},
            where="status = 'open'",
            given=[
                {"id": 1, "customer": "ada", "status": "open"},
                {"id": 2, "customer": "ada", "status": "paid"},
                {"id": 3, "customer": None, "status": "open"},
                {"id": 4, "customer": None, "status": "open"},
            ],
            shown="id",
            fails=(3, 4),
        ),
    )

    def compile(
        self, schema: pa.Schema, where: Expression | None, others: Mapping[str, pa.Schema], scope: RuleScope
    ) -> RowTest | None:
        """The key stands in one record only, of those for which `where` holds."""
        names = find_columns(self.config.field, schema, scope, "field")
        if not self.config.field:
            scope.error(MissingValue("there is no column"), "field")
        if not names:
            return None
        copies = scope.hidden("copies")
        only = f" FILTER (WHERE coalesce(TRY({where.sql}), false))" if where is not None else ""
        keys = ", ".join(map(quoted, names))
        mark = SameKey(tuple(names), copies, f"count(*){only} OVER (PARTITION BY {keys})", where.columns if where else ())
        passes = Expression("the key is unique", f"{quoted(copies)} <= 1", pa.bool_(), (copies,), can_fail=False)
        applies = None
        if self.config.nulls == "distinct":
            filled = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in names)
            applies = Expression("the key is there", filled, pa.bool_(), tuple(names), can_fail=False)
        several = "occur together" if len(names) > 1 else "occurs"
        message = f"{' and '.join(map(repr, names))} {several} more than once"
        return RowTest(passes, message, applies, names[0], mark=mark)
