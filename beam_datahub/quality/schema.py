"""Tells whether a step has the columns that it should have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import pyarrow as pa
from pydantic import BeforeValidator, Field

from beam_datahub.component.columns import listed
from beam_datahub.component.config import Config
from beam_datahub.component.inspection import Settled
from beam_datahub.component.registry import register
from beam_datahub.component.rule import Rule, RuleExample, RuleScope
from beam_datahub.errors import InvalidValue, MissingValue
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.types import sql_type, visible

NamesOrTypes = Annotated[
    tuple[str, ...] | dict[str, str | None],
    BeforeValidator(listed, json_schema_input_type=str | list[str] | dict[str, str | None]),
]


class SchemaConfig(Config):
    """Options of a schema rule."""

    columns: NamesOrTypes = ()
    """The columns that must be there: a list, or a mapping of columns to SQL types (null: any type)."""

    count: int | None = Field(default=None, ge=0)
    """How many columns there must be."""

    min_count: int | None = Field(default=None, ge=0)
    """How many columns there must be at least."""

    max_count: int | None = Field(default=None, ge=0)
    """How many columns there may be at most."""

    others: bool = True
    """Whether there may be further columns."""

    order: bool = False
    """Whether the columns must come in this order."""


@register("rule", "schema", since="0.1.0")
class SchemaRule(Rule):
    """The columns of a step are those that are expected; it is known before anything runs."""

    Config = SchemaConfig
    config: SchemaConfig
    about = "table"
    takes_where = False
    examples = (
        RuleExample(
            title="Columns with their types",
            options={"columns": {"id": "bigint", "name": "varchar"}},
            given=[{"id": 1, "name": "a", "more": 1.5}],
            holds=True,
        ),
        RuleExample(
            title="Just these columns, in this order",
            options={"columns": ["id", "name"], "others": False, "order": True},
            given=[{"name": "a", "id": 1, "more": 1.5}],
            holds=False,
        ),
        RuleExample(
            title="A table that does not grow wide unnoticed",
            options={"min_count": 1, "max_count": 2},
            given=[{"id": 1, "name": "a", "more": 1.5}],
            holds=False,
        ),
    )

    def compile(
        self, schema: pa.Schema, where: Expression | None, others: Mapping[str, pa.Schema], scope: RuleScope
    ) -> Settled | None:
        """The schema holds what is wanted."""
        columns = self.config.columns
        wanted: dict[str, str | None] = dict(columns) if isinstance(columns, dict) else dict.fromkeys(columns)
        least, most = self.config.min_count, self.config.max_count
        if not wanted and (self.config.count, least, most) == (None, None, None):
            scope.error(MissingValue("there is no column", hint="name those that must be there, or their `count`"), "columns")
            return None
        if least is not None and most is not None and least > most:
            scope.error(InvalidValue(f"no count is at least {least} and at most {most}"), "min_count")
            return None
        types = {name: scope.data_type(kind, "columns", name) for name, kind in wanted.items() if kind is not None}
        shown = visible(schema)
        faults = [f"'{name}' is missing" for name in wanted if name not in shown.names]
        faults += [
            f"'{name}' is {sql_type(shown.field(name).type)}, not {sql_type(kind)}"
            for name, kind in types.items()
            if name in shown.names and shown.field(name).type != kind
        ]
        if self.config.count is not None and len(shown) != self.config.count:
            faults.append(f"there are {len(shown)} columns, not {self.config.count}")
        if least is not None and len(shown) < least:
            faults.append(f"there are {len(shown)} columns, not at least {least}")
        if most is not None and len(shown) > most:
            faults.append(f"there are {len(shown)} columns, not at most {most}")
        if not self.config.others:
            faults += [f"'{name}' is one too many" for name in shown.names if name not in wanted]
        present = [name for name in shown.names if name in wanted]
        expected = [name for name in wanted if name in shown.names]
        if self.config.order and present != expected:
            faults.append(f"the order is {', '.join(present)}")
        return Settled(not faults, "; ".join(faults) or f"{len(shown)} columns, as expected")
