"""Keeps a share of the rows, always the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.columns import Names, find_columns
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.types import literal, quoted, visible


class SampleConfig(Config):
    """Options of a sample."""

    fraction: float = Field(gt=0, le=1)
    """The share of rows to keep, above 0 and up to 1. Whether a row stays depends on its values alone, so that every run
    and every engine keeps the same rows; the share is met about, not exactly."""

    by: Names = ()
    """The columns whose values decide; rows with equal values stay or go together. All columns without it."""

    seed: int = 0
    """Another number gives another sample."""


@register("transform", "sample", since="0.1.0")
class Sample(Transform):
    """Keeps a share of the rows, chosen by their values and so always the same ones."""

    Config = SampleConfig
    config: SampleConfig
    examples = (
        Example(
            title="About two thirds of the customers, each with all of its orders",
            config={"fraction": 0.66, "by": "customer"},
            given={"input": [{"customer": c, "order": o} for c in ("ada", "bo", "cy", "di") for o in (1, 2)]},
            expect=[{"customer": c, "order": o} for c in ("ada", "cy", "di") for o in (1, 2)],
        ),
        Example(
            title="Everything",
            config={"fraction": 1},
            given={"input": [{"id": 1}, {"id": None}]},
            expect=[{"id": 1}, {"id": None}],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        columns = find_columns(self.config.by, schema, scope, "by") or schema.names
        if self.config.fraction == 1:
            return [Rows()]
        # Control characters keep ("a", "bc") apart from ("ab", "c"), and null from an empty text. MD5 is the same on every
        # engine and in every version; DuckDB's own hash is not.
        parts = [literal(str(self.config.seed)), *(f"coalesce(CAST({quoted(name)} AS VARCHAR), chr(30))" for name in columns)]
        bound = round(self.config.fraction * 2**64)
        sql = f"md5_number_lower(concat_ws(chr(31), {', '.join(parts)})) < CAST({bound} AS UBIGINT)"
        keep = Expression(f"sample of {self.config.fraction:g}", sql, pa.bool_(), tuple(columns), can_fail=False)
        return [Rows(keep=keep)]
