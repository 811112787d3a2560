"""Puts the rows of several inputs together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import BeforeValidator

from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Operator, Rows
from beam_datahub.component.operators import Union as UnionOperator
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue, UnknownColumn
from beam_datahub.kernels.types import sql_type, visible
from beam_datahub.kernels.widening import widest


def _spelled(value: object) -> object:
    # In YAML, a bare null is no text.
    return "null" if value is None else value


class UnionConfig(Config):
    """Options of a union."""

    missing: Annotated[Literal["null", "refuse"], BeforeValidator(_spelled)] = "null"
    """What a column is that an input does not have: `null`, or a reason to refuse the integration."""


@register("transform", "union", since="0.1.0")
class Union(Transform):
    """Puts all rows of its inputs together; columns meet by name, and take a type that holds the values of all inputs."""

    Config = UnionConfig
    config: UnionConfig
    input_count = (1, None)
    examples = (
        Example(
            title="Two shops' orders; what one of them does not record is null",
            config={},
            given={
                "ulm": [{"id": 1, "total": 10}, {"id": 2, "total": 20}],
                "bonn": [{"id": 1, "total": 0.5, "note": "gift"}],
            },
            expect=[
                {"id": 1, "total": 10.0, "note": None},
                {"id": 2, "total": 20.0, "note": None},
                {"id": 1, "total": 0.5, "note": "gift"},
            ],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        schemas = {name: visible(schema) for name, schema in inputs.items()}
        found: dict[str, list[tuple[str, pa.Field]]] = {}
        for source, schema in schemas.items():
            for column in schema:
                found.setdefault(column.name.casefold(), []).append((source, column))
        fields: list[pa.Field] = []
        for columns in found.values():
            name = columns[0][1].name
            other = next(((source, column.name) for source, column in columns if column.name != name), None)
            if other is not None:
                hint = "rename it with a `mapping`, or a `normalise` of the names, before the union"
                scope.error(InvalidValue(f"the column '{name}' is called '{other[1]}' in '{other[0]}'", hint=hint))
            target = widest(column.type for _, column in columns)
            if target is None:
                kinds = ", ".join(f"{sql_type(column.type)} in '{source}'" for source, column in columns)
                scope.error(InvalidValue(f"the column '{name}' is {kinds}", hint="convert it with a `cast` before the union"))
                continue
            if self.config.missing == "refuse" and len(columns) < len(schemas):
                lacking = next(source for source in schemas if source not in {source for source, _ in columns})
                scope.error(
                    InvalidValue(
                        f"the input '{lacking}' lacks the column '{name}'", hint=UnknownColumn(name, schemas[lacking].names).hint
                    )
                )
            fields.append(pa.field(name, target))
        return [UnionOperator(pa.schema(fields))] if fields else [Rows()]
