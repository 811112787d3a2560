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
from beam_datahub.kernels.masking import Mask as Shown
from beam_datahub.kernels.masking import is_text_list
from beam_datahub.kernels.pseudonyms import (
    Decrypted,
    Encrypted,
    FormatPreserved,
    Hashed,
    Pseudonym,
    Shifted,
    Tokenised,
    has_text_form,
    pseudonymised,
)
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import JSON, quoted, sql_type, visible
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
    **{form: {"text"} for form in ("ssn", "ip", "iban", "name")},
    **{form: {"text", "layout"} for form in ("card", "phone")},
}
_KEYED = {method for method, options in _OPTIONS.items() if "key" in options}
_NESTED = {"null", "redact", "encrypt"}
_FORMS = {"partial", "email", "ssn", "card", "phone", "ip", "iban", "name"}
_PROTECTION = {
    **dict.fromkeys(("redact", "null", "hash", "tokenise", "fpe", "encrypt"), Protection.HIDDEN),
    **dict.fromkeys(("decrypt", "fpe_decrypt"), Protection.RESTORED),
}


class MaskRule(Config):
    """How one column is masked. A null stays null."""

    method: Method
    """`redact` puts a fixed text in place of every value; `null` removes the value; `partial` shows the first or last
    characters only.

    `email` shows `ad***@example.org`, `ssn` XXX-XX-1234, `card` XXXX-XXXX-XXXX-1234, `phone` XXX-XXX-1234, `ip` XXX.XXX.XXX.7,
    `iban` DEXX XXXX … 30 00, `name` A*** L***. A value that does not have the form is hidden whole; a list of texts is masked
    text by text.

    `generalise` makes a number a band, a date the beginning of its month, quarter, year or decade, and a text its beginning.

    `hash` gives the same code for the same value (HMAC-SHA256, 64 hexadecimal digits), and `tokenise` a token of a form of
    one's own, so that rows can still be counted and joined. `shift_date` moves all dates of one subject by the same number of
    days, so that what lies between them is kept. `fpe` encrypts digits as digits (FF1), `fpe_decrypt` undoes it. `encrypt`
    encrypts any value (AES-256-GCM) as text, and `decrypt` opens it. All these need a `key`."""

    text: str = "***"
    """What `redact` puts in place of a value, `email` and `name` in place of what they hide, and the forms in place of what
    has another form."""

    first: int = Field(default=0, ge=0)
    """How many characters `partial` shows at the beginning, `email` before the stars (2 when left out), and `generalise` of a
    text such as a postcode."""

    last: int = Field(default=0, ge=0)
    """How many characters `partial` shows at the end. A value with no more characters than are shown is hidden whole."""

    layout: Literal["usual", "own"] = "usual"
    """What `card` and `phone` put around the last four digits: the usual form, or X for each digit in the value's own layout."""

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

    @property
    def shown(self) -> Shown:
        """The mask, of a method that needs no key."""
        own = self.layout == "own"
        return Shown(self.method, self.text, self.first, self.last, self.character, own, self.width, self.bounds, self.to)


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


# Form → a value and what is shown of it, and one that has another form.
_USUAL = {
    "ssn": ("078-05-1120", "XXX-XX-1120", "unknown", "***"),
    "card": ("4111-1111-1111-1111", "XXXX-XXXX-XXXX-1111", "4111", "***"),
    "phone": ("(555) 010-4477", "XXX-XXX-4477", "none", "***"),
    "ip": ("192.0.2.17", "XXX.XXX.XXX.17", "2001:db8::7", "XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:7"),
    "iban": ("DE89 3704 0044 0532 0130 00", "DEXX XXXX XXXX XXXX XX30 00", "", "***"),
    "name": ("Ada Lovelace", "A*** L***", "X", "***"),
    "email": ("ada@example.org", "ad***@example.org", "-", "***"),
}


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
                {"id": 1, "name": "***", "email": "ad***@example.org", "card": "************1111", "born": None},
                {"id": 2, "name": None, "email": "***", "card": "***", "born": None},
            ],
        ),
        Example(
            title="The usual forms; what has another form is hidden whole",
            config={"fields": {kind: kind for kind in _USUAL}},
            given={"input": [{kind: row[n] for kind, row in _USUAL.items()} for n in (0, 2)]},
            expect=[{kind: row[n] for kind, row in _USUAL.items()} for n in (1, 3)],
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
                columns[at] = Column(name, rule.shown.of_column(name, schema.field(name).type), protection=_protection(rule))
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
    if pa.types.is_nested(kind) and method not in (_NESTED | _FORMS if is_text_list(kind) else _NESTED):
        more = ", and the forms lists of texts" if method in _FORMS else ""
        return InvalidValue(f"'{name}' is {sql_type(kind)}: only `redact`, `null` and `encrypt` mask nested values{more}")
    if method == "generalise":
        problem = rule.shown.generalising_problem(name, kind)
        return None if problem is None else InvalidValue(problem[0], hint=problem[1])
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


class Pseudonyms(BatchKernel):
    """Replaces columns by their keyed masks; it pickles without the keys."""

    def __init__(self, masks: tuple[Pseudonym, ...]) -> None:
        self._masks = masks

    def depends(self, column: str) -> tuple[str, ...] | None:
        return next((mask.depends for mask in self._masks if mask.name == column), (column,))

    def apply(self, batch: pa.RecordBatch, session: KernelSession) -> Applied:
        return Applied(*pseudonymised(batch, self._masks))
