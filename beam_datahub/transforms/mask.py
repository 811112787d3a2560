"""Hides personal data."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BeforeValidator, Field

from beam_datahub.component.columns import find_column, unchanged
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Applied, Apply, BatchKernel, Column, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue, MissingValue
from beam_datahub.kernels.distinct import map_distinct
from beam_datahub.kernels.expressions import Expression, cast_sql, column
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON, literal, quoted, sql_type, visible
from beam_datahub.security import Secret


class MaskRule(Config):
    """How one column is masked. A null stays null."""

    method: Literal["redact", "partial", "email", "hash", "null"]
    """`redact` puts a fixed text in place of every value; `partial` shows the first or last characters only; `email` shows
    the first character and the domain; `hash` gives the same code for the same value (HMAC-SHA256 under `key`, 64
    hexadecimal digits), so that rows can still be counted and joined; `null` removes the value."""

    text: str = "***"
    """What `redact` puts in place of a value, and `email` in place of what it hides."""

    first: int = Field(default=0, ge=0)
    """How many characters `partial` shows at the beginning."""

    last: int = Field(default=0, ge=0)
    """How many characters `partial` shows at the end. A value with no more characters than are shown is hidden whole."""

    character: str = Field(default="*", min_length=1, max_length=1)
    """What `partial` puts in place of each hidden character."""

    key: Secret | None = None
    """The secret of `hash`, as `${secret.MASK_KEY}`: without it, anyone could hash guesses and compare."""


def _ruled(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {
        name: {"method": "null" if rule is None else rule} if rule is None or isinstance(rule, str) else rule
        for name, rule in value.items()
    }


class MaskConfig(Config):
    """Options of a mask."""

    fields: Annotated[
        dict[str, MaskRule],
        BeforeValidator(_ruled, json_schema_input_type=dict[str, MaskRule | Literal["redact", "email", "null"]]),
    ]
    """The columns to mask: name → rule, or just the method."""


@register("transform", "mask", since="0.1.0")
class Mask(Transform):
    """Hides values of columns with personal data, wholly or in part; the other columns stay as they are."""

    Config = MaskConfig
    config: MaskConfig
    examples = (
        Example(
            title="Each kind of mask; a card number that is too short to show a part of is hidden whole",
            config={
                "fields": {
                    "name": "redact",
                    "email": "email",
                    "card": {"method": "partial", "last": 4},
                    "born": "null",
                }
            },
            given={
                "input": [
                    {"id": 1, "name": "Ada", "email": "ada@example.org", "card": "4111111111111111", "born": "1815-12-10"},
                    {"id": 2, "name": None, "email": "none", "card": "411", "born": None},
                ]
            },
            schema={"input": {"id": "bigint", "name": "varchar", "email": "varchar", "card": "varchar", "born": "date"}},
            expect=[
                {"id": 1, "name": "***", "email": "a***@example.org", "card": "************1111", "born": None},
                {"id": 2, "name": None, "email": "***", "card": "***", "born": None},
            ],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        rules: dict[str, MaskRule] = {}
        for name, rule in self.config.fields.items():
            found = find_column(name, schema, scope, "fields", name)
            if rule.method == "hash" and rule.key is None:
                scope.error(MissingValue("a hash needs a `key`", hint="write key: ${secret.MASK_KEY}"), "fields", name)
            if rule.method == "partial" and not rule.first and not rule.last:
                scope.error(InvalidValue("nothing would be shown", hint="say how much: `last: 4`"), "fields", name)
            if found is not None and pa.types.is_nested(schema.field(found).type) and rule.method not in ("null", "redact"):
                kind = sql_type(schema.field(found).type)
                scope.error(InvalidValue(f"'{found}' is {kind}: only `redact` and `null` mask nested values"), "fields", name)
            elif found is not None:
                rules[found] = rule
        masked = Rows(tuple(Column(name, _masked(name, schema, rules.get(name))) for name in schema.names))
        keys = {name: rule.key for name, rule in rules.items() if rule.method == "hash" and rule.key is not None}
        if not keys:
            return [masked]
        after = pa.schema([(made.name, made.expression.type) for made in masked.columns or ()])
        return [masked, Apply(KeyedHash(keys), after, unchanged(after), made=tuple(keys))]


def _masked(name: str, schema: pa.Schema, rule: MaskRule | None) -> Expression:
    """The column as the rule shows it; one to be hashed as text."""
    if rule is None:
        return column(name, schema)
    kind = schema.field(name).type
    if rule.method == "null":
        return Expression(f"{name}, removed", f"CAST(NULL AS {sql_type(kind)})", kind, (name,), can_fail=False)
    if rule.method == "redact":
        sql = f"CASE WHEN {quoted(name)} IS NOT NULL THEN {literal(rule.text)} END"
        return Expression(f"{name}, redacted", sql, pa.string(), (name,), can_fail=False)
    text = cast_sql(quoted(name), kind, pa.string())
    if rule.method == "partial":
        text = _partial(text, rule)
    elif rule.method == "email":
        text = _email(text, rule)
    return Expression(f"{name}, masked ({rule.method})", text, pa.string(), (name,), can_fail=kind == JSON)


def _partial(text: str, rule: MaskRule) -> str:
    hidden, shown = literal(rule.character), rule.first + rule.last
    middle = f"repeat({hidden}, length({text}) - {shown})"
    return (
        f"CASE WHEN length({text}) <= {shown} THEN repeat({hidden}, length({text})) "
        f"ELSE left({text}, {rule.first}) || {middle} || right({text}, {rule.last}) END"
    )


def _email(text: str, rule: MaskRule) -> str:
    # The last @ parts the domain off. One character before it is all there may be to hide: then none of it is shown.
    local, domain = f"regexp_extract({text}, '^(.+)@([^@]+)$', 1)", f"regexp_extract({text}, '^(.+)@([^@]+)$', 2)"
    return (
        f"CASE WHEN {text} IS NULL THEN NULL WHEN {domain} = '' THEN {literal(rule.text)} "
        f"ELSE CASE WHEN length({local}) > 1 THEN left({local}, 1) ELSE '' END || {literal(rule.text + '@')} || {domain} END"
    )


class KeyedHash(BatchKernel):
    """Replaces texts by their HMAC; it pickles without the keys."""

    def __init__(self, keys: Mapping[str, Secret]) -> None:
        self._keys = dict(keys)

    def apply(self, batch: pa.RecordBatch, session: KernelSession) -> Applied:
        for name, key in self._keys.items():
            secret = key.reveal().encode()
            hashed = map_distinct(batch.column(name), partial(_hmac, secret), pa.string())
            batch = batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), hashed.column)
        return Applied(batch)


def _hmac(key: bytes, value: Any) -> str:
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()
