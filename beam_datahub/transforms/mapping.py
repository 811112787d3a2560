"""Makes new columns from expressions, and chooses which columns of the input stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa

from beam_datahub.component.columns import Names, find_column, find_columns, is_free
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Column, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import Expression, cast_sql, column
from beam_datahub.kernels.types import visible


class MappingConfig(Config):
    """Options of a mapping."""

    fields: dict[str, Any] = {}
    """The output columns: name → expression (a column, a path `$.a.b`, a template `${a} ${b}`, or SQL), or
    `{value: …}` for a literal. A row on which one fails is rejected (`expression_failed`). Every expression sees the
    columns of the input, never another field of the same mapping."""

    keep: Literal["all", "none"] | tuple[str, ...] = "none"
    """Which columns of the input stay, before the fields: `none`, `all`, or a list. A field with the name of a kept
    column takes its place."""

    drop: Names = ()
    """Columns that do not stay although `keep` is `all`."""

    types: dict[str, str] = {}
    """SQL types to convert output columns to: name → type, as `timestamp` or `decimal(12,2)`. A row with a value that
    does not convert is rejected (`cast_failed`)."""


@register("transform", "mapping", since="0.1.0")
class MappingTransform(Transform):
    """Makes the output's columns from expressions over the input's: rename, compute, choose, convert."""

    Config = MappingConfig
    config: MappingConfig
    examples = (
        Example(
            title="The output has just these fields",
            config={"fields": {"order_id": "id", "total": "round(amount * quantity, 2)", "label": "${country}-${id}"}},
            given={"input": [{"id": 7, "amount": 1.5, "quantity": 3, "country": "DE"}]},
            expect=[{"order_id": 7, "total": 4.5, "label": "DE-7"}],
        ),
        Example(
            title="Keep the other columns; a field takes the place of the column that it is named after",
            config={"keep": "all", "drop": ["note"], "fields": {"country": "upper(country)", "origin": {"value": "shop"}}},
            given={"input": [{"id": 1, "country": "de", "note": "x"}]},
            expect=[{"id": 1, "country": "DE", "origin": "shop"}],
        ),
        Example(
            title="Reach into nested values; what is not there is null",
            config={"fields": {"city": "$.customer.address.city", "skus": "$.items[*].sku"}},
            given={
                "input": [
                    {"customer": {"address": {"city": "Ulm"}}, "items": [{"sku": "a"}, {"sku": "b"}]},
                    {"customer": {"address": None}, "items": []},
                ]
            },
            schema={"input": {"customer": "struct(address struct(city varchar))", "items": "struct(sku varchar)[]"}},
            expect=[{"city": "Ulm", "skus": ["a", "b"]}, {"city": None, "skus": []}],
        ),
        Example(
            title="A value that does not convert rejects its row and no other",
            config={"fields": {"id": "id", "placed_on": "placed"}, "types": {"placed_on": "date"}},
            given={"input": [{"id": 1, "placed": "2025-01-31"}, {"id": 2, "placed": "2025-02-31"}]},
            expect=[{"id": 1, "placed_on": "2025-01-31"}],
            rejected=("cast_failed",),
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        made = self._columns(visible(schema), scope)
        if not made:
            if not self.config.fields and self.config.keep in ("none", ()):
                scope.error(InvalidValue("the mapping makes no columns", hint="give `fields`, or `keep: all`"))
            return [Rows()]
        casts = self._casts(made, scope)
        if all(not made[name].can_fail for name in casts):
            return [
                Rows(
                    tuple(
                        Column(name, _cast(inner, casts[name]), "cast_failed") if name in casts else Column(name, inner)
                        for name, inner in made.items()
                    )
                )
            ]
        # A separate step tells a failing conversion from a failing expression; it is fused again later.
        between = pa.schema([(name, inner.type) for name, inner in made.items()])
        return [
            Rows(tuple(Column(name, inner) for name, inner in made.items())),
            Rows(
                tuple(
                    Column(name, _cast(column(name, between), casts[name]), "cast_failed")
                    if name in casts
                    else Column(name, column(name, between))
                    for name in made
                )
            ),
        ]

    def _columns(self, schema: pa.Schema, scope: Scope) -> dict[str, Expression]:
        kept = self._kept(schema, scope)
        made: dict[str, Expression] = {name: column(name, schema) for name in kept}
        for name, value in self.config.fields.items():
            expression = scope.expression(value, schema, "fields", name)
            replaced = next((old for old in kept if old.casefold() == name.casefold()), None)
            if replaced is not None:
                kept.remove(replaced)
                made = {name if old == replaced else old: expression if old == replaced else made[old] for old in made}
            elif is_free(name, made, scope, "fields", name):
                made[name] = expression
        return made

    def _kept(self, schema: pa.Schema, scope: Scope) -> list[str]:
        if self.config.drop and self.config.keep != "all":
            scope.error(InvalidValue("`drop` goes with `keep: all` only"), "drop")
        if self.config.keep == "none":
            return []
        if self.config.keep == "all":
            dropped = find_columns(self.config.drop, schema, scope, "drop")
            return [name for name in schema.names if name not in dropped]
        return find_columns(self.config.keep, schema, scope, "keep")

    def _casts(self, made: Mapping[str, Expression], scope: Scope) -> dict[str, pa.DataType]:
        schema = pa.schema([(name, expression.type) for name, expression in made.items()])
        casts: dict[str, pa.DataType] = {}
        for name, sql in self.config.types.items():
            found = find_column(name, schema, scope, "types", name)
            target = scope.data_type(sql, "types", name)
            if found is not None and target != made[found].type:
                casts[found] = target
        return casts


def _cast(inner: Expression, target: pa.DataType) -> Expression:
    return Expression(inner.text, cast_sql(inner.sql, inner.type, target), target, inner.columns)
