"""Tells the records whose value is not what a reference says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.columns import find_column
from beam_datahub.component.config import Config
from beam_datahub.component.inspection import Lookup, RowTest
from beam_datahub.component.literals import number_sql
from beam_datahub.component.matching import On, check_comparable, matched_keys
from beam_datahub.component.registry import register
from beam_datahub.component.rule import Rule, RuleExample, RuleScope
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.types import quoted, sql_type
from beam_datahub.kernels.widening import is_number


class AccuracyConfig(Config):
    """Options of an accuracy rule."""

    field: str
    """The column whose values are compared."""

    with_: str = Field(alias="with")
    """The source or step that holds the true values, one record for each key."""

    on: On
    """The key: a column of the same name on both sides, a list of them, or a mapping of columns here to columns there."""

    equals: str | None = None
    """The column there; that of the same name when left out."""

    absolute: float = Field(default=0, ge=0, allow_inf_nan=False)
    """How far a number may be off."""

    relative: float = Field(default=0, ge=0, allow_inf_nan=False)
    """How far a number may be off, as a share of the true value: 0.01 is one percent. The wider of the two counts."""

    missing: Literal["fail", "skip"] = "fail"
    """What becomes of a record whose key the reference lacks: it fails, or it is not checked."""


@register("rule", "accuracy", since="0.1.0")
class Accuracy(Rule):
    """A value is equal to that of a reference with the same key, within a tolerance; two nulls are equal.

    Where the reference has different values for one key, no record of this key passes.
    """

    Config = AccuracyConfig
    config: AccuracyConfig
    examples = (
        RuleExample(
            title="Prices are those of the list, to a cent",
            options={"field": "price", "with": "list", "on": "sku", "absolute": 0.01},
            given=[
                {"sku": "a", "price": 1.0},
                {"sku": "b", "price": 2.5},
                {"sku": "c", "price": 3.0},
                {"sku": "d", "price": None},
            ],
            others={
                "list": [{"sku": "a", "price": 1.005}, {"sku": "b", "price": 2.0}, {"sku": "d", "price": None}],
            },
            shown="sku",
            fails=("b", "c"),
        ),
    )

    def references(self) -> tuple[str, ...]:
        """The reference."""
        return (self.config.with_,)

    def compile(
        self, schema: pa.Schema, where: Expression | None, others: Mapping[str, pa.Schema], scope: RuleScope
    ) -> RowTest | None:
        """The value is the reference's."""
        config, other = self.config, others[self.config.with_]
        name = find_column(config.field, schema, scope, "field")
        true = find_column(config.equals or config.field, other, scope, "equals" if config.equals else "field")
        left, right = matched_keys(config.on, schema, other, scope)
        if name is None or true is None or not left:
            return None
        check_comparable(name, schema, true, other, scope, "field")
        kind = schema.field(name).type
        if (config.absolute or config.relative) and not (is_number(kind) and is_number(other.field(true).type)):
            key = "absolute" if config.absolute else "relative"
            scope.error(InvalidValue(f"a tolerance is for numbers, and '{name}' is {sql_type(kind)}"), key)
            return None
        found, least, most = scope.hidden("found"), scope.hidden("least"), scope.hidden("most")
        filled = scope.hidden("filled")
        adds = {found: ("count", ""), filled: ("count", true), least: ("min", true), most: ("max", true)}
        mark = Lookup(config.with_, left, right, adds)
        # One value for the key: no two that differ, and not a value in one record and none in another.
        one = f"{quoted(least)} IS NOT DISTINCT FROM {quoted(most)} AND {quoted(filled)} IN (0, {quoted(found)})"
        same = f"{quoted(found)} IS NOT NULL AND {one} AND {self._equal(quoted(name), quoted(least), kind)}"
        passes = Expression("as the reference says", same, pa.bool_(), (name, *adds), can_fail=True)
        applies = None
        if config.missing == "skip":
            applies = Expression("known", f"{quoted(found)} IS NOT NULL", pa.bool_(), (found,), can_fail=False)
        return RowTest(passes, f"'{name}' is not what '{config.with_}' says", applies, name, mark=mark)

    def _equal(self, value: str, true: str, kind: pa.DataType) -> str:
        equal = f"{value} IS NOT DISTINCT FROM {true}"
        if not self.config.absolute and not self.config.relative:
            return equal
        bounds = [
            number_sql(self.config.absolute, pa.float64()),
            f"abs({true}) * {number_sql(self.config.relative, pa.float64())}",
        ]
        return f"({equal} OR coalesce(abs({value} - {true}) <= greatest({', '.join(bounds)}), false))"
