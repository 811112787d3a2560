"""Tells the records that lack a value."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from beam_datahub.component.columns import Names, find_columns
from beam_datahub.component.config import Config
from beam_datahub.component.inspection import RowTest
from beam_datahub.component.registry import register
from beam_datahub.component.rule import Rule, RuleExample, RuleScope
from beam_datahub.errors import MissingValue
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.types import quoted


class CompletenessConfig(Config):
    """Options of a completeness rule."""

    field: Names
    """The column that must have a value, or a list of them: each must."""

    blank: bool = False
    """Whether a text of nothing but white space counts as a value."""


@register("rule", "completeness", since="0.1.0")
class Completeness(Rule):
    """A value must be there: null fails, and so does a text of nothing but white space."""

    Config = CompletenessConfig
    config: CompletenessConfig
    examples = (
        RuleExample(
            title="Every order has a customer",
            options={"field": "customer"},
            given=[{"id": 1, "customer": "ada"}, {"id": 2, "customer": None}, {"id": 3, "customer": "  "}],
            shown="id",
            fails=(2, 3),
        ),
        RuleExample(
            title="Orders that are paid have a date and an amount",
            options={"field": ["paid_at", "amount"]},
            where="status = 'paid'",
            given=[
                {"id": 1, "status": "paid", "paid_at": "2025-01-01", "amount": 1},
                {"id": 2, "status": "paid", "paid_at": "2025-01-01", "amount": None},
                {"id": 3, "status": "open", "paid_at": None, "amount": None},
            ],
            shown="id",
            fails=(2,),
        ),
    )

    def compile(
        self, schema: pa.Schema, where: Expression | None, others: Mapping[str, pa.Schema], scope: RuleScope
    ) -> RowTest | None:
        """Each of the columns has a value."""
        names = find_columns(self.config.field, schema, scope, "field")
        if not self.config.field:
            scope.error(MissingValue("there is no column"), "field")
        if not names:
            return None
        conditions = [self._filled(name, schema.field(name).type) for name in names]
        passes = Expression(" and ".join(names), " AND ".join(conditions), pa.bool_(), tuple(names), can_fail=False)
        return RowTest(passes, f"{' or '.join(map(repr, names))} is missing", column=names[0])

    def _filled(self, name: str, kind: pa.DataType) -> str:
        column = quoted(name)
        if kind == pa.string() and not self.config.blank:
            return f"({column} IS NOT NULL AND regexp_matches({column}, '[^\\s\\p{{Z}}]'))"
        return f"{column} IS NOT NULL"
