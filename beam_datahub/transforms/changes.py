"""Turns changes in Debezium's envelope into rows."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Literal

import pyarrow as pa

from beam_datahub.component.columns import find_column
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Check, Column, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.expressions import Expression, cast_sql
from beam_datahub.kernels.types import TIMESTAMPTZ, literal, quoted, visible

_KEPT = "REPLICA IDENTITY FULL lets PostgreSQL keep such values"


class ChangesConfig(Config):
    """Options of changes."""

    types: dict[str, str] = {}
    """Columns that get a type other than the one that Debezium writes them in: name → SQL type. Days and times that are numbers
    become dates and timestamps, text becomes `decimal`, `json`, or (from base64) `blob`. A value that does not convert rejects
    its record (`cast_failed`)."""

    unit: Literal["ms", "us"] = "us"
    """What times that are numbers count: thousandths of a second (`time.precision.mode=connect`) or millionths."""

    position: str | None = None
    """A whole number that rises with every change of a row; `_offset`, or `source.lsn`, where the input has it."""

    truncates: Literal["reject", "skip"] = "reject"
    """What becomes of the record of a TRUNCATE, which rows have no way to say."""

    unavailable: str = "__debezium_unavailable_value"
    """What stands for a value that the database's log does not have (`unavailable.value.placeholder`); such a record is rejected
    (`unchanged_value`)."""


_SOURCE = {"lsn": 7, "ts_ms": 1741000000000}


@register("transform", "changes", since="0.1.0")
class ChangesTransform(Transform):
    """Gives the rows of changes that come in Debezium's envelope, with what became of them beside: what `merge` applies."""

    Config = ChangesConfig
    config: ChangesConfig
    examples = (
        Example(
            title="A row that changed and one that is gone; a message without a value (a tombstone) is left out",
            config={},
            given={
                "input": [
                    {"op": "u", "before": None, "after": {"id": 1, "name": "Ada"}, "source": _SOURCE},
                    {"op": "d", "before": {"id": 2, "name": "bo"}, "after": None, "source": _SOURCE},
                    {"op": None, "before": None, "after": None, "source": None},
                ]
            },
            expect=[
                {
                    "id": 1,
                    "name": "Ada",
                    "__op": "u",
                    "__deleted": False,
                    "__position": 7,
                    "__committed_at": "2025-03-03T11:06:40Z",
                },
                {
                    "id": 2,
                    "name": "bo",
                    "__op": "d",
                    "__deleted": True,
                    "__position": 7,
                    "__committed_at": "2025-03-03T11:06:40Z",
                },
            ],
        ),
        Example(
            title="Debezium's forms become the database's types; a large value that the log does not have rejects its record",
            config={"types": {"day": "date", "amount": "decimal(12,2)"}, "position": "_offset"},
            given={
                "input": [
                    {"op": "c", "before": None, "after": {"id": 1, "day": 19782, "amount": "1.50", "note": "x"}, "_offset": 3},
                    {
                        "op": "u",
                        "before": None,
                        "after": {"id": 1, "day": 19782, "amount": "2.50", "note": "__debezium_unavailable_value"},
                        "_offset": 4,
                    },
                ]
            },
            expect=[
                {
                    "id": 1,
                    "day": "2024-02-29",
                    "amount": 1.50,
                    "note": "x",
                    "__op": "c",
                    "__deleted": False,
                    "__position": 3,
                    "__committed_at": None,
                }
            ],
            rejected=("unchanged_value",),
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        schema = visible(next(iter(inputs.values())))
        for name in ("op", "before", "after"):
            if name not in schema.names:
                scope.error(
                    InvalidValue(
                        f"the input has no column '{name}'", hint="it takes `op`, `before` and `after`, as Debezium has them"
                    )
                )
                return [Rows()]
        after, before = schema.field("after").type, schema.field("before").type
        if not pa.types.is_struct(after):
            scope.error(
                InvalidValue("the columns of the table are not known", hint="declare `after: struct(…)` in the source's `schema`")
            )
            return [Rows()]
        targets = self._targets(after, scope)
        checks: list[Check] = []
        columns: list[Column] = []
        for each in after:
            sql = f"struct_extract({quoted('after')}, {literal(each.name)})"
            old = "NULL"
            if pa.types.is_struct(before) and before.get_field_index(each.name) >= 0:
                old = f"struct_extract({quoted('before')}, {literal(each.name)})"
                old = cast_sql(old, before.field(each.name).type, each.type)
            value = f"CASE WHEN {quoted('op')} = 'd' THEN {old} ELSE {sql} END"
            checks += self._known(each, value)
            target = targets.get(each.name, each.type)
            expression = Expression(each.name, self._typed(value, each.type, target), target, ("op", "before", "after"))
            columns.append(Column(each.name, expression, "cast_failed"))
        columns += self._beside(schema, scope)
        wanted = "'r', 'c', 'u', 'd', 't'" if self.config.truncates == "reject" else "'r', 'c', 'u', 'd'"
        if self.config.truncates == "reject":
            said = "the table was emptied by TRUNCATE, which rows cannot say"
            checks.insert(0, Check(_truth(f"{quoted('op')} <> 't'", ("op",)), said))
        return [Rows(tuple(columns), _truth(f"{quoted('op')} IN ({wanted})", ("op",)), tuple(checks))]

    def _targets(self, after: pa.DataType, scope: Scope) -> dict[str, pa.DataType]:
        table = pa.schema(list(after))
        found = {}
        for name, sql in self.config.types.items():
            column = find_column(name, table, scope, "types", name)
            kind = scope.data_type(sql, "types", name)
            if column is not None:
                found[column] = kind
        return found

    def _known(self, field: pa.Field, value: str) -> list[Check]:
        """What refuses values that the log does not have; they are text, or in a list of text."""
        mark = self.config.unavailable
        coded = base64.b64encode(mark.encode()).decode()
        if field.type == pa.string():
            sql = f"coalesce({value} NOT IN ({literal(mark)}, {literal(coded)}), true)"
        elif pa.types.is_list(field.type) and field.type.value_type == pa.string():
            sql = f"coalesce(NOT list_contains({value}, {literal(mark)}), true)"
        else:
            return []
        said = f"the log does not have the value of '{field.name}', which is large and was not changed: {_KEPT}"
        return [Check(_truth(sql, ("op", "before", "after")), said, "unchanged_value", field.name)]

    def _typed(self, value: str, source: pa.DataType, target: pa.DataType) -> str:
        """A value in the type that it has in the database."""
        t = pa.types
        if t.is_integer(source):
            micros = f"CAST({value} AS BIGINT) * {1000 if self.config.unit == 'ms' else 1}"
            if t.is_date(target):
                return f"CAST(DATE '1970-01-01' + CAST({value} AS INTEGER) AS DATE)"
            if t.is_timestamp(target) and target.tz is None:
                return f"make_timestamp({micros})"
            if t.is_timestamp(target):
                return f"to_timestamp(({micros}) / 1000000.0)"
            if t.is_time(target):
                return f"CAST(TIME '00:00:00' + to_microseconds({micros}) AS TIME)"
        if source == pa.string() and target == pa.binary():
            return f"from_base64({value})"
        return cast_sql(value, source, target)

    def _beside(self, schema: pa.Schema, scope: Scope) -> list[Column]:
        """What stands beside the columns of the table."""
        source = schema.field("source").type if "source" in schema.names else pa.null()
        parts = {each.name for each in source} if pa.types.is_struct(source) else set()
        if self.config.position is not None:
            place = scope.expression(self.config.position, schema, "position")
            place = Expression(place.text, cast_sql(place.sql, place.type, pa.int64()), pa.int64(), place.columns)
        elif "_offset" in schema.names:
            place = Expression("_offset", f"CAST({quoted('_offset')} AS BIGINT)", pa.int64(), ("_offset",))
        elif "lsn" in parts:
            place = Expression("source.lsn", f"CAST({_of_source('lsn')} AS BIGINT)", pa.int64(), ("source",))
        else:
            hint = "name it as `position`, or take the source's `metadata: [offset]`"
            scope.error(InvalidValue("nothing in the input tells the order of its changes", hint=hint))
            place = Expression("0", "CAST(0 AS BIGINT)", pa.int64())
        moment, uses = "NULL", tuple[str, ...]()
        if "ts_ms" in parts:
            moment, uses = _of_source("ts_ms"), ("source",)
        elif "ts_ms" in schema.names:
            moment, uses = quoted("ts_ms"), ("ts_ms",)
        at = Expression("ts_ms", f"to_timestamp(CAST({moment} AS DOUBLE) / 1000)", TIMESTAMPTZ, uses)
        return [
            Column("__op", Expression("op", quoted("op"), schema.field("op").type, ("op",), can_fail=False)),
            Column("__deleted", _truth(f"{quoted('op')} = 'd'", ("op",))),
            Column("__position", place),
            Column("__committed_at", at),
        ]


def _of_source(name: str) -> str:
    return f"struct_extract({quoted('source')}, {literal(name)})"


def _truth(sql: str, columns: tuple[str, ...]) -> Expression:
    return Expression(sql, sql, pa.bool_(), columns)
