"""Refuses rows that break field rules or a JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BeforeValidator

from beam_datahub.component.columns import find_column, unchanged
from beam_datahub.component.config import Config, Example
from beam_datahub.component.field_rules import Rule, rule_checks
from beam_datahub.component.operators import Applied, Apply, BatchKernel, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.json_schema import SchemaSource, broken, json_values, load_schema
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import visible


def _rules(value: object) -> object:
    """A mapping field → rule as a list of rules."""
    if not isinstance(value, dict):
        return value
    return [{"field": name, **rule} if isinstance(rule, dict) else rule for name, rule in value.items()]


class ValidationConfig(Config):
    """Options of a validation."""

    rules: Annotated[tuple[Rule, ...], BeforeValidator(_rules, json_schema_input_type=list[Rule] | dict[str, Rule])] = ()
    """What the fields must be: a mapping field → rule, or a list of rules. A row that breaks some is rejected
    (`validation_failed`) with all that it breaks."""

    json_schema: str | dict[str, Any] | None = None
    """A JSON Schema that every row must meet, as an object: inline, or the path of a JSON or YAML file. Its `$schema`
    tells the draft, 2020-12 without it; `format` is checked. It is applied to rows that meet all `rules`."""

    json_field: str | None = None
    """The column whose value must meet `json_schema`, instead of the whole row."""

    nulls: Literal["present", "absent"] = "present"
    """How a JSON Schema sees a null column of the row: `present` with the value null, or as an `absent` property."""

    references: dict[str, str] = {}
    """Where the schemas are that `$ref` names by URI: URI, or the start of URIs → file, or folder. Nothing is fetched."""


@register("transform", "validation", since="0.1.0")
class Validation(Transform):
    """Rejects the rows that break field rules or a JSON Schema; the others go on as they are."""

    Config = ValidationConfig
    config: ValidationConfig
    examples = (
        Example(
            title="Rules for fields; a row is rejected once, with all that it breaks",
            config={
                "rules": {
                    "email": {"required": True, "pattern": "^[^@ ]+@[^@ ]+$"},
                    "age": {"min": 0, "max": 150},
                    "country": {"in": ["DE", "FR"]},
                }
            },
            given={
                "input": [
                    {"email": "ada@example.org", "age": 36, "country": "DE"},
                    {"email": "bo", "age": 200, "country": "DE"},
                    {"email": "cy@example.org", "age": None, "country": None},
                ]
            },
            expect=[
                {"email": "ada@example.org", "age": 36, "country": "DE"},
                {"email": "cy@example.org", "age": None, "country": None},
            ],
            rejected=("validation_failed",),
        ),
        Example(
            title="A condition over several columns, in words of one's own",
            config={"rules": [{"that": "ended >= started", "message": "it ends before it starts"}]},
            given={"input": [{"started": 1, "ended": 2}, {"started": 3, "ended": 2}]},
            expect=[{"started": 1, "ended": 2}],
            rejected=("validation_failed",),
        ),
        Example(
            title="A JSON Schema for the whole row",
            config={
                "json_schema": {
                    "$schema": "https://json-schema.org/draft/2020-12/schema",
                    "type": "object",
                    "required": ["id", "tags"],
                    "properties": {"id": {"type": "integer"}, "tags": {"type": "array", "uniqueItems": True}},
                }
            },
            given={"input": [{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": ["a", "a"]}]},
            expect=[{"id": 1, "tags": ["a", "b"]}],
            rejected=("validation_failed",),
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        operators: list[Operator] = []
        checks = [check for index, rule in enumerate(self.config.rules) for check in rule_checks(rule, index, schema, scope)]
        if checks:
            operators.append(Rows(checks=tuple(checks)))
        if self.config.json_schema is not None:
            operators.append(self._json_schema(self.config.json_schema, schema, scope))
        elif not self.config.rules:
            scope.error(InvalidValue("there is nothing to validate", hint="give `rules` or `json_schema`"))
        return operators or [Rows()]

    def _json_schema(self, given: str | dict[str, Any], schema: pa.Schema, scope: Scope) -> Operator:
        column: str | None = None
        if self.config.json_field is not None:
            column = find_column(self.config.json_field, schema, scope, "json_field")
        references = {uri: scope.resolve(path) for uri, path in self.config.references.items()}
        try:
            source = load_schema(given if isinstance(given, dict) else scope.resolve(given), references)
        except InvalidValue as error:
            scope.error(error, "json_schema")
            source = SchemaSource({})
        kernel = JsonSchemaKernel(source, tuple(schema.names), column, omit_nulls=self.config.nulls == "absent")
        return Apply(kernel, schema, unchanged(schema), can_reject=True, made=())


class JsonSchemaKernel(BatchKernel):
    """Rejects the rows whose JSON value breaks a schema."""

    def __init__(self, source: SchemaSource, names: tuple[str, ...], column: str | None, *, omit_nulls: bool) -> None:
        self._source, self._names, self._column, self._omit_nulls = source, names, column, omit_nulls
        self._validator: Any = None

    def open(self, session: KernelSession) -> None:
        self._validator = self._source.validator()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_validator": None}

    def apply(self, batch: pa.RecordBatch, session: KernelSession) -> Applied:
        rows: list[int] = []
        messages: list[str] = []
        for row, value in enumerate(self._values(batch)):
            message = _unreadable(value) if isinstance(value, Exception) else broken(self._validator, value)
            if message is not None:
                rows.append(row)
                messages.append(message)
        if not rows:
            return Applied(batch)
        good = pa.array(sorted(set(range(batch.num_rows)) - set(rows)), pa.int64())
        return Applied(batch.take(good), good, rejections(rows, "validation_failed", messages, self._column))

    def _values(self, batch: pa.RecordBatch) -> Iterator[Any]:
        """The JSON value of each row; an exception in place of one that cannot be read."""
        if self._column is not None:
            yield from _column_values(batch.column(self._column))
            return
        columns = [_column_values(batch.column(name)) for name in self._names]
        for row in zip(*columns, strict=True):
            unread = next((value for value in row if isinstance(value, Exception)), None)
            pairs = zip(self._names, row, strict=True)
            yield unread or {name: value for name, value in pairs if value is not None or not self._omit_nulls}


def _unreadable(error: Exception) -> str:
    return "nested too deeply to be read" if isinstance(error, RecursionError) else f"no JSON: {error}"


def _column_values(column: pa.Array) -> list[Any]:
    try:
        return json_values(column)
    except (RecursionError, ValueError) as error:
        if len(column) == 1:
            return [error]
        return [value for row in range(len(column)) for value in _column_values(column.slice(row, 1))]
