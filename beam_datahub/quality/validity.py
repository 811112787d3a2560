"""Tells the records whose value is not of the form, in the range or among the values that it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.columns import Names, find_column
from beam_datahub.component.config import Config
from beam_datahub.component.field_rules import Limit, field_conditions
from beam_datahub.component.field_rules import Rule as FieldRule
from beam_datahub.component.inspection import Probe, RowTest
from beam_datahub.component.registry import register
from beam_datahub.component.rule import Rule, RuleExample, RuleScope
from beam_datahub.errors import InvalidValue, MissingValue, SpecError, UnknownName
from beam_datahub.kernels.expressions import Expression
from beam_datahub.kernels.time_formats import refused_time_format
from beam_datahub.kernels.types import literal, quoted, sql_type
from beam_datahub.kernels.value_forms import FORMS, SQL_FORMS, value_form
from beam_datahub.kernels.widening import is_number

_WORDS = {
    "bic": "a BIC",
    "country": "a country",
    "credit_card": "the number of a card",
    "currency": "a currency",
    "ean": "an EAN",
    "email": "an e-mail address",
    "eu_vat": "a VAT number of the EU",
    "iban": "an IBAN",
    "imei": "an IMEI",
    "ip": "an IP address",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "isbn": "an ISBN",
    "issn": "an ISSN",
    "json": "JSON",
    "lei": "an LEI",
    "mac": "a MAC address",
    "phone": "a phone number",
    "ssn": "a social security number of the USA",
    "url": "a URL",
    "uuid": "a UUID",
}
# Forms of digits, which a column of whole numbers may hold, too.
_DIGITS = ("credit_card", "ean", "imei", "isbn", "phone", "ssn")
_OF_ROWS = ("min", "max", "above", "below", "min_length", "max_length", "in_", "not_in")


class ValidityConfig(Config):
    """Options of a validity rule; a value must meet all that are given."""

    field: str
    """The column whose values are checked; nulls are not, see completeness."""

    pattern: str | None = None
    """A regular expression (RE2 syntax) that must be found in the text; `^` and `$` tie it to its ends."""

    not_pattern: str | None = None
    """A regular expression (RE2 syntax) that must not be found in the text."""

    like: tuple[str, ...] | str | None = None
    """A pattern of SQL (`%`: any text, `_`: any character) that the whole text must match, or a list: one of them."""

    not_like: tuple[str, ...] | str | None = None
    """A pattern of SQL that the whole text must not match, or a list: none of them."""

    min: Limit | None = None
    """The least value; a number, or a date or time for a column of such a type."""

    max: Limit | None = None
    """The greatest value; a number, or a date or time for a column of such a type."""

    above: Limit | None = None
    """What the value must be greater than."""

    below: Limit | None = None
    """What the value must be less than."""

    min_length: int | None = Field(default=None, ge=0)
    """The least number of characters of a text, or of elements of a list."""

    max_length: int | None = Field(default=None, ge=0)
    """The greatest number of characters of a text, or of elements of a list."""

    in_: tuple[Any, ...] | None = Field(default=None, alias="in")
    """The values that are allowed."""

    not_in: tuple[Any, ...] | None = None
    """The values that are not allowed."""

    format: str | None = None
    """The form of the text: bic, country, credit_card (12 to 19 digits that pass the Luhn check), currency, date, datetime
    (both of ISO 8601), ean, email, eu_vat, hostname, iban, imei, ip, ipv4, ipv6, isbn, issn, json, lei, mac, phone, ssn, time,
    url or uuid."""

    time_format: str | None = None
    """How a text writes a date or a time, in the signs of strftime, as `%d.%m.%Y`; it must be one that exists."""

    region: str | None = None
    """For `format: phone`: the country (as DE) of numbers without a country code; without it they need one."""

    code: Literal["alpha_2", "alpha_3", "numeric"] | None = None
    """For `format: country` or `currency`: only this code counts; any code or name counts when left out."""

    schemes: Names = ()
    """For `format: url`: the schemes that are allowed, as https; the usual ones of the web and of files when left out."""

    data_type: str | None = None
    """A SQL type that the value must convert to, as `decimal(12,2)` for a text."""


@register("rule", "validity", since="0.1.0")
class Validity(Rule):
    """A value must be of a form, match a pattern, lie in a range or be one of a set."""

    Config = ValidityConfig
    config: ValidityConfig
    examples = (
        RuleExample(
            title="E-mail addresses",
            options={"field": "email", "format": "email"},
            given=[{"email": "ada@example.org"}, {"email": "bo"}, {"email": None}],
            shown="email",
            fails=("bo",),
        ),
        RuleExample(
            title="A range",
            options={"field": "age", "min": 0, "max": 150},
            given=[{"age": 36}, {"age": 200}, {"age": None}, {"age": -1}],
            shown="age",
            fails=(200, -1),
        ),
        RuleExample(
            title="A pattern and a length",
            options={"field": "sku", "pattern": "^[A-Z]{2}-", "max_length": 6},
            given=[{"sku": "AB-1"}, {"sku": "ab-1"}, {"sku": "AB-12345"}],
            shown="sku",
            fails=("ab-1", "AB-12345"),
        ),
        RuleExample(
            title="Allowed values, in some records only",
            options={"field": "status", "in": ["paid", "open"]},
            where="id > 1",
            given=[{"id": 1, "status": "?"}, {"id": 2, "status": "paid"}, {"id": 3, "status": "lost"}],
            shown="id",
            fails=(3,),
        ),
        RuleExample(
            title="ISO codes of countries",
            options={"field": "country", "format": "country", "code": "alpha_2"},
            given=[{"country": "DE"}, {"country": "Germany"}, {"country": "XX"}],
            shown="country",
            fails=("Germany", "XX"),
        ),
    )

    def compile(
        self, schema: pa.Schema, where: Expression | None, others: Mapping[str, pa.Schema], scope: RuleScope
    ) -> RowTest | None:
        """All conditions hold for the value, where there is one."""
        name = find_column(self.config.field, schema, scope, "field")
        if name is None:
            return None
        column, kind = quoted(name), schema.field(name).type
        least, most = self.config.min, self.config.max
        if is_number(kind) and isinstance(least, int | float) and isinstance(most, int | float) and least > most:
            scope.error(InvalidValue(f"no value is at least {least} and at most {most}"), "min")
            return None
        rule = FieldRule(pattern=self.config.pattern, **{key: getattr(self.config, key) for key in _OF_ROWS})
        conditions = [*field_conditions(rule, name, schema, scope, ()), *self._further(name, kind, schema, scope)]
        probes = tuple(self._probes(name, kind, scope))
        if not conditions and not probes:
            if not set(self.config.model_fields_set) - {"field"}:
                scope.error(MissingValue("the rule says nothing of the values", hint="give `format`, `pattern`, `min`, `in`, …"))
            return None
        sql = " AND ".join(f"({condition})" for _, condition in conditions)
        passes = Expression(self.config.field, sql, pa.bool_(), (name,), can_fail=False) if conditions else None
        conditions += [(self._not_of_form(name), "") for _ in probes]
        applies = Expression(f"{name} is not null", f"{column} IS NOT NULL", pa.bool_(), (name,), can_fail=False)
        return RowTest(passes, " or ".join(words for words, _ in conditions), applies, name, probes)

    def _not_of_form(self, name: str) -> str:
        form = str(self.config.format)
        return f"'{name}' is not {_WORDS.get(form, f'a {form}')}"

    def _further(self, name: str, kind: pa.DataType, schema: pa.Schema, scope: RuleScope) -> Iterator[tuple[str, str]]:
        column, config = quoted(name), self.config
        if config.not_pattern is not None:
            if kind != pa.string():
                scope.error(InvalidValue(f"a pattern is for text, and '{name}' is {sql_type(kind)}"), "not_pattern")
            else:
                found = scope.predicate(f"regexp_matches({column}, {literal(config.not_pattern)})", schema, "not_pattern")
                yield f"'{name}' matches {config.not_pattern}", f"NOT ({found.sql})"
        for key, patterns, word in (("like", config.like, "is not like"), ("not_like", config.not_like, "is like")):
            if patterns is None:
                continue
            listed = (patterns,) if isinstance(patterns, str) else patterns
            if kind != pa.string() or not listed:
                reason = f"a pattern is for text, and '{name}' is {sql_type(kind)}" if listed else "there is no pattern"
                scope.error(InvalidValue(reason), key)
                continue
            like = " OR ".join(f"{column} LIKE {literal(pattern)}" for pattern in listed)
            yield f"'{name}' {word} {' or '.join(listed)}", f"({like})" if key == "like" else f"NOT ({like})"
        if config.time_format is not None:
            if kind != pa.string():
                scope.error(InvalidValue(f"a format is for text, and '{name}' is {sql_type(kind)}"), "time_format")
            elif (refused := refused_time_format(config.time_format)) is not None:
                scope.error(InvalidValue(str(refused), hint=refused.hint), "time_format")
            else:
                yield (
                    f"'{name}' is not of the form {config.time_format}",
                    (f"try_strptime({column}, {literal(config.time_format)}) IS NOT NULL"),
                )
        if config.data_type is not None:
            target = sql_type(scope.data_type(config.data_type, "data_type"))
            yield f"'{name}' is no {config.data_type}", f"TRY_CAST({column} AS {target}) IS NOT NULL"
        if config.format in SQL_FORMS and self._is_text(name, kind, scope):
            yield self._not_of_form(name), SQL_FORMS[config.format](column)

    def _probes(self, name: str, kind: pa.DataType, scope: RuleScope) -> Iterator[Probe]:
        config = self.config
        for key, forms in (("region", ("phone",)), ("code", ("country", "currency")), ("schemes", ("url",))):
            if getattr(config, key) and config.format not in forms:
                scope.error(InvalidValue(f"`{key}` goes with `format: {' or '.join(forms)}`"), key)
                return
        if config.format is None or config.format in SQL_FORMS:
            return
        if config.format not in FORMS:
            scope.error(UnknownName("format", config.format, FORMS), "format")
            return
        if not self._is_text(name, kind, scope):
            return
        options = [config.region] if config.region else [config.code] if config.code else [*config.schemes]
        try:
            yield Probe(name, value_form(config.format, *options))
        except SpecError as error:
            scope.error(error, "region" if config.region else "format")

    def _is_text(self, name: str, kind: pa.DataType, scope: RuleScope) -> bool:
        if kind == pa.string() or (self.config.format in _DIGITS and pa.types.is_integer(kind)):
            return True
        scope.error(InvalidValue(f"a format is for text, and '{name}' is {sql_type(kind)}"), "format")
        return False
