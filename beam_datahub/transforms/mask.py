"""Hides personal data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import BeforeValidator, Field

from beam_datahub.component.columns import find_column, unchanged
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Applied, Apply, BatchKernel, Column, Operator, Protection, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue, MissingValue
from beam_datahub.kernels import mask_forms as forms
from beam_datahub.kernels.expressions import Expression, cast_sql, column
from beam_datahub.kernels.pseudonyms import (
    Decrypted,
    Encrypted,
    FormatPreserved,
    Hashed,
    Pseudonym,
    Shifted,
    Tokenised,
    has_text_form,
)
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON, literal, quoted, sql_type, visible
from beam_datahub.security import Secret
from beam_datahub.security.field_cipher import LEAST_KEY_LENGTH
from beam_datahub.security.sensitive_names import sensitive_kind

Method = Literal[
    "redact", "null", "partial", "email", "ssn", "card", "phone", "ip", "iban", "name", "generalise",
    "hash", "tokenise", "shift_date", "fpe", "fpe_decrypt", "encrypt", "decrypt",
]  # fmt: skip

# The options that each method takes beside `method`.
_OPTIONS: dict[str, set[str]] = {
    "redact": {"text"},
    "null": set(),
    "partial": {"first", "last", "character"},
    "email": {"text", "first"},
    "generalise": {"width", "bounds", "to", "first", "character"},
    "hash": {"key"},
    "tokenise": {"key", "prefix", "length", "alphabet", "tenant"},
    "shift_date": {"key", "subject", "days"},
    "fpe": {"key", "alphabet", "tenant", "on_error"},
    "fpe_decrypt": {"key", "alphabet", "tenant", "on_error"},
    "encrypt": {"key", "deterministic"},
    "decrypt": {"key", "old_keys", "type", "on_error"},
    **{form: {"text"} for form in ("ssn", "card", "phone", "ip", "iban", "name")},
}
_KEYED = {method for method, options in _OPTIONS.items() if "key" in options}
_NESTED = {"null", "redact", "encrypt"}
_PROTECTION = {
    **dict.fromkeys(("redact", "null", "hash", "tokenise", "fpe", "encrypt"), Protection.HIDDEN),
    **dict.fromkeys(("decrypt", "fpe_decrypt"), Protection.RESTORED),
}


class MaskRule(Config):
    """How one column is masked. A null stays null."""

    method: Method
    """`redact` puts a fixed text in place of every value; `null` removes the value; `partial` shows the first or last
    characters only.

    `email` shows `a***@example.org`, `ssn` XXX-XX-1234, `card` XXXX-XXXX-XXXX-1234 and `phone` XXX-XXX-1234 in the value's own
    layout, `ip` XXX.XXX.XXX.7, `iban` DEXX XXXX … 30 00, `name` A*** L***. A value that does not have the form is hidden whole.

    `generalise` makes a number a band, a date the beginning of its month, quarter, year or decade, and a text its beginning.

    `hash` gives the same code for the same value (HMAC-SHA256, 64 hexadecimal digits), and `tokenise` a token of a form of
    one's own, so that rows can still be counted and joined. `shift_date` moves all dates of one subject by the same number of
    days, so that what lies between them is kept. `fpe` encrypts digits as digits (FF1), `fpe_decrypt` undoes it. `encrypt`
    encrypts any value (AES-256-GCM) as text, and `decrypt` opens it. All these need a `key`."""

    text: str = "***"
    """What `redact` puts in place of a value, `email` and `name` in place of what they hide, and the forms in place of what
    has another form."""

    first: int = Field(default=0, ge=0)
    """How many characters `partial` shows at the beginning, `email` before the dots (1 when left out), and `generalise` of a
    text such as a postcode."""

    last: int = Field(default=0, ge=0)
    """How many characters `partial` shows at the end. A value with no more characters than are shown is hidden whole."""

    character: str = Field(default="*", min_length=1, max_length=1)
    """What `partial` and `generalise` put in place of each hidden character."""

    width: float | None = Field(default=None, gt=0)
    """The width of the bands that `generalise` makes of numbers: with 10, an age of 37 becomes `30-39`."""

    bounds: tuple[float, ...] = ()
    """The bounds of bands that `generalise` makes of numbers: with `[18, 65]`, ages become `<18`, `18-64` and `65+`."""

    to: Literal["month", "quarter", "year", "decade"] | None = None
    """What `generalise` leaves of a date: the first day of this; the type stays."""

    key: Secret | None = None
    """The secret, as `${secret.MASK_KEY}`: without it, anyone could hash guesses and compare. 16 characters or more."""

    old_keys: tuple[Secret, ...] = ()
    """Further secrets that `decrypt` tries: what was encrypted before `key` was changed can still be opened."""

    prefix: str = ""
    """What each token begins with, such as `cust_`."""

    length: int = Field(default=20, ge=8, le=64)
    """How many characters of a token follow the prefix. Of few, two values may share one."""

    alphabet: Literal["hex", "digits", "lower", "upper", "base32", "alphanumeric"] | None = None
    """The characters of a token (`base32` when left out), or those that `fpe` encrypts (`digits`); others stay in place."""

    tenant: str | None = None
    """A column, such as the customer's company: the same value gets another token, or cipher, for each of its values."""

    subject: str | None = None
    """The column that tells whose date it is: `shift_date` moves all dates of one subject alike."""

    days: int = Field(default=365, ge=1, le=36_500)
    """The most days by which `shift_date` moves a date, forward or back."""

    deterministic: bool = False
    """Whether `encrypt` gives equal values equal ciphertexts, so that they can be joined and written again unchanged; else
    nobody can tell which are equal."""

    type: str = "varchar"
    """The SQL type of what `decrypt` opens, as `bigint` or `date`."""

    on_error: Literal["reject", "null"] = "reject"
    """What becomes of a value that cannot be encrypted in its format or decrypted: `reject` refuses its row (`not_masked`),
    `null` leaves it out."""


Rule = Annotated[
    MaskRule,
    BeforeValidator(lambda value: _rule(value), json_schema_input_type=MaskRule | Method),
]


def _rule(value: object) -> object:
    if value is None:
        return {"method": "null"}
    return {"method": value} if isinstance(value, str) else value


class MaskConfig(Config):
    """Options of a mask."""

    fields: dict[str, Rule] | Literal["auto"] = {}
    """The columns to mask: name → rule, or just the method. `auto` is short for `sensitive: encrypt` alone."""

    sensitive: Rule | None = None
    """The rule for each column that `fields` does not name and whose own name says that it holds a password, api_key, secret,
    token, credentials, ssn, credit_card, account_number or personal_id."""

    key: Secret | None = None
    """The secret of every rule that needs one and has none of its own."""


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
        Example(
            title="The usual forms; the value keeps its layout, and what has another form is hidden whole",
            config={
                "fields": {
                    "ssn": "ssn",
                    "card": "card",
                    "phone": "phone",
                    "ip": "ip",
                    "iban": "iban",
                    "name": "name",
                    "email": {"method": "email", "first": 2},
                }
            },
            given={
                "input": [
                    {
                        "ssn": "078-05-1120",
                        "card": "4111-1111-1111-1111",
                        "phone": "(555) 010-4477",
                        "ip": "192.0.2.17",
                        "iban": "DE89 3704 0044 0532 0130 00",
                        "name": "Ada Lovelace",
                        "email": "ada@example.org",
                    },
                    {
                        "ssn": "unknown",
                        "card": "4111",
                        "phone": "none",
                        "ip": "2001:db8::7",
                        "iban": "",
                        "name": "X",
                        "email": "-",
                    },
                ]
            },
            expect=[
                {
                    "ssn": "XXX-XX-1120",
                    "card": "XXXX-XXXX-XXXX-1111",
                    "phone": "(XXX) XXX-4477",
                    "ip": "XXX.XXX.XXX.17",
                    "iban": "DEXX XXXX XXXX XXXX XX30 00",
                    "name": "A*** L***",
                    "email": "ad***@example.org",
                },
                {
                    "ssn": "***",
                    "card": "***",
                    "phone": "***",
                    "ip": "XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:7",
                    "iban": "***",
                    "name": "***",
                    "email": "***",
                },
            ],
        ),
        Example(
            title="Less exact values: ages and incomes in bands, days as months, the beginning of a postcode",
            config={
                "fields": {
                    "age": {"method": "generalise", "bounds": [18, 65]},
                    "income": {"method": "generalise", "width": 10000},
                    "born": {"method": "generalise", "to": "month"},
                    "postcode": {"method": "generalise", "first": 2},
                }
            },
            given={"input": [{"age": 36, "income": 51200, "born": "1815-12-10", "postcode": "10117"}]},
            schema={"input": {"age": "bigint", "income": "bigint", "born": "date", "postcode": "varchar"}},
            expect=[{"age": "18-64", "income": "50000-59999", "born": "1815-12-01", "postcode": "10***"}],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        rules = self._rules(schema, scope)
        keyed = {name: made for name, rule in rules.items() if (made := _pseudonym(name, rule, schema, scope)) is not None}
        operators: list[Operator] = []
        between = schema
        if keyed:
            texts = Rows(tuple(Column(name, _as_text(name, schema, keyed.get(name))) for name in schema.names))
            fields = [
                (made.name, keyed[made.name].type if made.name in keyed else made.expression.type) for made in texts.columns or ()
            ]
            between = pa.schema(fields)
            protection = {name: _protection(rules[name]) for name in keyed}
            rejects = any(made.can_reject for made in keyed.values())
            kernel, lineage = Pseudonyms(tuple(keyed.values())), unchanged(between)
            operators += [texts, Apply(kernel, between, lineage, rejects, made=tuple(keyed), protection=protection)]
        columns = [Column(name, column(name, between)) for name in between.names]
        for name, rule in rules.items():
            at = between.names.index(name)
            if name not in keyed:
                columns[at] = Column(name, _masked(name, schema, rule, scope), protection=_protection(rule))
            elif rule.method == "decrypt" and (kind := scope.data_type(rule.type, "fields", name, "type")) != pa.string():
                sql = cast_sql(quoted(name), pa.string(), kind)
                columns[at] = Column(name, Expression(f"{name}, decrypted", sql, kind, (name,)), reason="not_masked")
        if not keyed or any(not made.expression.is_column for made in columns):
            operators.append(Rows(tuple(columns)))
        return operators

    def _rules(self, schema: pa.Schema, scope: Scope) -> dict[str, MaskRule]:
        """Column → rule, with the common key put in; what is wrong is reported."""
        given = {} if self.config.fields == "auto" else self.config.fields
        sensitive = self.config.sensitive
        if self.config.fields == "auto" and sensitive is None:
            sensitive = MaskRule(method="encrypt")
        if not given and sensitive is None:
            scope.error(MissingValue("nothing is masked", hint="name columns under `fields`, or write `fields: auto`"), "fields")
        wanted: dict[str, tuple[MaskRule, tuple[str, ...]]] = {}
        for name, rule in given.items():
            found = find_column(name, schema, scope, "fields", name)
            if found is not None:
                wanted[found] = (rule, ("fields", name))
        if sensitive is not None:
            at = ("sensitive",) if self.config.sensitive is not None else ("fields",)
            wanted |= {name: (sensitive, at) for name in schema.names if name not in wanted and sensitive_kind(name)}
        return {name: made for name, (rule, at) in wanted.items() if (made := self._complete(rule, name, schema, scope, *at))}

    def _complete(self, rule: MaskRule, name: str, schema: pa.Schema, scope: Scope, *at: str) -> MaskRule | None:
        if rule.method in _KEYED and rule.key is None:
            rule = rule.model_copy(update={"key": self.config.key})
        problem = _problem(rule, name, schema)
        if problem is not None:
            scope.error(problem, *at)
        return None if problem is not None else rule


def _problem(rule: MaskRule, name: str, schema: pa.Schema) -> InvalidValue | MissingValue | None:
    """What is wrong with the rule for the column `name`, if anything is."""
    kind, method = schema.field(name).type, rule.method
    stray = sorted(option for option in rule.model_fields_set - {"method", "key"} if option not in _OPTIONS[method])
    if stray:
        takes = ", ".join(sorted(_OPTIONS[method])) or "no options"
        return InvalidValue(f"`{stray[0]}` is not for `{method}`", hint=f"`{method}` takes {takes}")
    if method in _KEYED and rule.key is None:
        article = "an" if method in ("encrypt", "fpe", "fpe_decrypt") else "a"
        words = {"fpe": "format-preserving encryption", "shift_date": "date shift", "tokenise": "token"}.get(method, method)
        return MissingValue(f"{article if words == method else 'a'} {words} needs a `key`", hint="write key: ${secret.MASK_KEY}")
    if method in _KEYED - {"hash"} and rule.key is not None and len(rule.key.reveal()) < LEAST_KEY_LENGTH:
        hint = "make one with: openssl rand -base64 32"
        return InvalidValue(f"the key has fewer than {LEAST_KEY_LENGTH} characters: it could be guessed", hint=hint)
    if method == "partial" and not rule.first and not rule.last:
        return InvalidValue("nothing would be shown", hint="say how much: `last: 4`")
    if pa.types.is_nested(kind) and method not in _NESTED:
        return InvalidValue(f"'{name}' is {sql_type(kind)}: only `redact`, `null` and `encrypt` mask nested values")
    if method == "generalise":
        return _generalising_problem(rule, name, kind)
    if method == "shift_date" and not forms.takes_truncation(kind):
        return InvalidValue(f"'{name}' is {sql_type(kind)}, not a date or a time", hint="convert it with a `cast` before")
    if method == "shift_date" and rule.subject is None:
        return MissingValue("a date shift needs a `subject`", hint="name the column that tells whose date it is")
    for option, other in (("subject", rule.subject), ("tenant", rule.tenant)):
        if other is not None and other not in schema.names:
            return InvalidValue(
                f"there is no column '{other}' to be the {option}", hint=f"the input has: {', '.join(schema.names)}"
            )
        if other is not None and not has_text_form(schema.field(other).type):
            return InvalidValue(
                f"'{other}' is {sql_type(schema.field(other).type)}: a {option} is a text, a whole number or a date"
            )
    return None


def _generalising_problem(rule: MaskRule, name: str, kind: pa.DataType) -> InvalidValue | MissingValue | None:
    chosen = [option for option in ("width", "bounds", "to", "first") if getattr(rule, option)]
    if len(chosen) != 1:
        hint = "numbers take `width` or `bounds`, dates `to`, texts `first`"
        return MissingValue(f"generalising takes one of `width`, `bounds`, `to` and `first`, not {len(chosen)}", hint=hint)
    fits = {"to": forms.takes_truncation(kind), "first": kind == pa.string()}.get(chosen[0], forms.takes_bands(kind))
    if not fits:
        wanted = {"to": "dates and times", "first": "texts"}.get(chosen[0], "numbers")
        hint = "convert it with a `cast` before"
        return InvalidValue(f"`{chosen[0]}` is for {wanted}, and '{name}' is {sql_type(kind)}", hint=hint)
    if list(rule.bounds) != sorted(set(rule.bounds)):
        return InvalidValue("the bounds must ascend", hint=f"write {sorted(set(rule.bounds))}")
    return None


def _pseudonym(name: str, rule: MaskRule, schema: pa.Schema, scope: Scope) -> Pseudonym | None:
    """The keyed mask of a column; None for one that is SQL."""
    if rule.key is None or rule.method not in _KEYED:
        return None
    rejects = rule.on_error == "reject"
    if rule.method == "hash":
        return Hashed(name, rule.key)
    if rule.method == "tokenise":
        alphabet = rule.alphabet or "base32"
        return Tokenised(name, rule.key, rule.prefix, rule.length, alphabet, rule.tenant)
    if rule.method == "shift_date":
        return Shifted(name, rule.key, str(rule.subject), rule.days, schema.field(name).type)
    if rule.method == "encrypt":
        return Encrypted(name, rule.key, rule.deterministic)
    if rule.method == "decrypt":
        return Decrypted(name, rule.key, rule.old_keys, rejects)
    return FormatPreserved(name, rule.key, rule.alphabet or "digits", rule.method == "fpe_decrypt", rule.tenant, rejects)


def _protection(rule: MaskRule) -> Protection:
    return _PROTECTION.get(rule.method, Protection.LOWERED)


def _as_text(name: str, schema: pa.Schema, made: Pseudonym | None) -> Expression:
    """The column as its keyed mask takes it."""
    kind = schema.field(name).type
    if made is None or made.type == kind:
        return column(name, schema)
    # What is encrypted must come back as it was: JSON keeps its quotes.
    sql = f"CAST({quoted(name)} AS VARCHAR)" if isinstance(made, Encrypted) else cast_sql(quoted(name), kind, pa.string())
    return Expression(f"{name}, as text", sql, pa.string(), (name,), can_fail=kind == JSON or pa.types.is_nested(kind))


def _masked(name: str, schema: pa.Schema, rule: MaskRule, scope: Scope) -> Expression:
    """The column as the rule shows it."""
    kind = schema.field(name).type
    if rule.method == "null":
        return Expression(f"{name}, removed", f"CAST(NULL AS {sql_type(kind)})", kind, (name,), can_fail=False)
    if rule.method == "redact":
        sql = f"CASE WHEN {quoted(name)} IS NOT NULL THEN {literal(rule.text)} END"
        return Expression(f"{name}, redacted", sql, pa.string(), (name,), can_fail=False)
    if rule.to is not None:
        return Expression(f"{name}, its {rule.to}", forms.truncated(name, kind, rule.to), kind, (name,), can_fail=False)
    text = cast_sql(quoted(name), kind, pa.string())
    if rule.width is not None:
        sql = forms.band(name, kind, rule.width)
    elif rule.bounds:
        sql = forms.bands(name, kind, rule.bounds)
    elif rule.method == "generalise":
        sql = forms.partial(text, rule.first, 0, rule.character)
    elif rule.method == "partial":
        sql = forms.partial(text, rule.first, rule.last, rule.character)
    elif rule.method == "email":
        sql = forms.email(text, rule.first or 1, rule.text)
    else:
        sql = getattr(forms, rule.method)(text, rule.text)
    return Expression(f"{name}, masked ({rule.method})", sql, pa.string(), (name,), can_fail=kind == JSON)


class Pseudonyms(BatchKernel):
    """Replaces columns by their keyed masks; it pickles without the keys."""

    def __init__(self, masks: tuple[Pseudonym, ...]) -> None:
        self._masks = masks

    def depends(self, column: str) -> tuple[str, ...] | None:
        return next((mask.depends for mask in self._masks if mask.name == column), (column,))

    def apply(self, batch: pa.RecordBatch, session: KernelSession) -> Applied:
        made, broken = batch, dict[int, list[tuple[str, str]]]()
        for mask in self._masks:
            mapped = mask.masked(batch)
            made = made.set_column(made.schema.get_field_index(mask.name), pa.field(mask.name, mask.type), mapped.column)
            if mask.can_reject:
                for row, message in zip(mapped.failed.to_pylist(), mapped.messages, strict=True):
                    broken.setdefault(row, []).append((mask.name, f"'{mask.name}' {message}"))
        if not broken:
            return Applied(made)
        rows = sorted(broken)
        good = pa.array(sorted(set(range(batch.num_rows)) - broken.keys()), pa.int64())
        messages = ["; ".join(message for _, message in broken[row]) for row in rows]
        rejected = rejections(rows, "not_masked", messages, [broken[row][0][0] for row in rows])
        return Applied(made.take(good), good, rejected)
