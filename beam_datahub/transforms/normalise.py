"""Brings names and values into one form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from beam_datahub.component.columns import find_column, is_free, unchanged
from beam_datahub.component.config import Config, Example
from beam_datahub.component.operators import Applied, Apply, BatchKernel, Column, Operator, Rows
from beam_datahub.component.registry import register
from beam_datahub.component.transform import Scope, Transform
from beam_datahub.errors import InvalidValue
from beam_datahub.kernels.distinct import map_distinct
from beam_datahub.kernels.expressions import Expression, column
from beam_datahub.kernels.normal_forms import NormalForm, country, currency, email, phone, quantity, unit_factor
from beam_datahub.kernels.rejection import rejections
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import literal, quoted, sql_type, visible
from beam_datahub.kernels.widening import is_number

_SPACE = r"[\s\p{Z}]+"


class Text(Config):
    """Forms of text, applied in the order in which they stand here."""

    nfc: bool = False
    """Whether characters that can be written in several ways (é as one or two code points) take the composed one."""

    trim: bool = False
    """Whether white space at both ends goes."""

    collapse_spaces: bool = False
    """Whether each run of white space inside becomes one space."""

    case: Literal["lower", "upper"] | None = None
    """Whether the text becomes `lower` or `upper` case."""

    empty_as_null: bool = False
    """Whether an empty text becomes null."""

    aliases: dict[str, str] = {}
    """Values to replace by others: value → other."""


class Unit(Config):
    """A conversion between units of measurement."""

    from_: str = Field(alias="from")
    """The unit of the values, such as `lb`, `degF` or `km/h`; of a text such as `12 kg`, the unit when none is written."""

    to: str
    """The unit wanted."""


class Form(Text):
    """The form of one column: forms of text first, then at most one of the others."""

    phone: str | None = None
    """Phone numbers as E.164 (`+4930901820`); the value is the country of numbers without a country code, as `DE`."""

    email: bool = False
    """Whether the values are e-mail addresses: they must be well-formed (nothing is sent or looked up), and the domain is
    in lower case."""

    country: Literal["alpha_2", "alpha_3", "numeric", "name"] | None = None
    """Countries, by any of their ISO 3166 codes and names, as this one."""

    currency: Literal["alpha_3", "numeric", "name"] | None = None
    """Currencies, by any of their ISO 4217 codes and names, as this one."""

    unit: Unit | None = None
    """Quantities, as numbers or text, as numbers (`double`) in another unit."""

    on_error: Literal["reject", "null"] = "reject"
    """What becomes of a value that has no such form: `reject` refuses its row (`not_normalised`), `null` leaves it out."""


class NormaliseConfig(Config):
    """Options of a normalise."""

    names: Literal["snake_case", "lower", "upper"] | None = None
    """The form of the column names."""

    texts: Text | None = None
    """Forms for all text columns that `fields` does not name."""

    fields: dict[str, Form] = {}
    """Forms for single columns, by their names in the input."""


@register("transform", "normalise", since="0.1.0")
class Normalise(Transform):
    """Brings column names, text, phone numbers, e-mail addresses, countries, currencies and units into one form."""

    Config = NormaliseConfig
    config: NormaliseConfig
    examples = (
        Example(
            title="Column names and white space",
            config={"names": "snake_case", "texts": {"trim": True, "collapse_spaces": True, "empty_as_null": True}},
            given={"input": [{"customerID": 1, "Full Name": "  Ada   Lovelace "}, {"customerID": 2, "Full Name": "  "}]},
            expect=[{"customer_id": 1, "full_name": "Ada Lovelace"}, {"customer_id": 2, "full_name": None}],
        ),
        Example(
            title="Phone numbers, e-mail addresses and countries; what is none is rejected",
            config={
                "fields": {
                    "phone": {"phone": "DE"},
                    "email": {"email": True, "trim": True, "case": "lower"},
                    "country": {"country": "alpha_2", "aliases": {"UK": "GB"}},
                }
            },
            given={
                "input": [
                    {"phone": "030 / 901820", "email": " Ada@Example.ORG", "country": "Germany"},
                    {"phone": "+44 20 7946 0018", "email": None, "country": "UK"},
                    {"phone": "12", "email": "nobody", "country": "Atlantis"},
                ]
            },
            expect=[
                {"phone": "+4930901820", "email": "ada@example.org", "country": "DE"},
                {"phone": "+442079460018", "email": None, "country": "GB"},
            ],
            rejected=("not_normalised",),
        ),
        Example(
            title="Pounds to kilograms, in a number and in text; a value without a form becomes null",
            config={
                "fields": {
                    "weight": {"unit": {"from": "lb", "to": "kg"}},
                    "load": {"unit": {"from": "kg", "to": "kg"}, "on_error": "null"},
                }
            },
            given={"input": [{"weight": 100, "load": "2 t"}, {"weight": None, "load": "much"}]},
            expect=[{"weight": 45.359237, "load": 2000.0}, {"weight": None, "load": None}],
        ),
    )

    def compile(self, inputs: Mapping[str, pa.Schema], scope: Scope) -> Sequence[Operator]:
        (schema,) = inputs.values()
        schema = visible(schema)
        forms: dict[str, Form] = {}
        for name, form in self.config.fields.items():
            found = find_column(name, schema, scope, "fields", name)
            if found is not None and _applies(form, found, schema, scope):
                forms[found] = form
        expressions = {name: self._expression(name, schema, forms.get(name), scope) for name in schema.names}
        operators: list[Operator] = [Rows(tuple(Column(name, made) for name, made in expressions.items()))]
        between = pa.schema([(name, made.type) for name, made in expressions.items()])
        special: dict[str, tuple[NormalForm, bool]] = {}
        for name, form in forms.items():
            try:
                normal = _normal_form(form, between.field(name).type)
            except InvalidValue as error:
                scope.error(error, "fields", name)
                continue
            if normal is not None:
                special[name] = (normal, form.on_error == "reject")
        if special:
            after = pa.schema([(f.name, special[f.name][0].type if f.name in special else f.type) for f in between])
            rejects = any(reject for _, reject in special.values())
            operators.append(Apply(_Forms(special, after), after, unchanged(after), can_reject=rejects, made=tuple(special)))
            between = after
        if self.config.names is not None:
            operators.append(self._renamed(between, scope))
        if not forms and self.config.texts is None and self.config.names is None:
            scope.error(InvalidValue("there is nothing to normalise", hint="give `names`, `texts` or `fields`"))
        return operators

    def _expression(self, name: str, schema: pa.Schema, form: Form | None, scope: Scope) -> Expression:
        """The column after the forms that SQL can give it."""
        kind = schema.field(name).type
        if kind == pa.string():
            text: Text | None = form or self.config.texts
            sql = _text_sql(quoted(name), text) if text is not None else quoted(name)
            return Expression(name, sql, kind, (name,), can_fail=False)
        if form is not None and form.unit is not None:
            try:
                factor, offset = unit_factor(form.unit.from_, form.unit.to)
            except InvalidValue as error:
                scope.error(error, "fields", name, "unit")
                return column(name, schema)
            sql = f"CAST({quoted(name)} AS DOUBLE) * CAST('{factor!r}' AS DOUBLE) + CAST('{offset!r}' AS DOUBLE)"
            return Expression(f"{name} in {form.unit.to}", sql, pa.float64(), (name,), can_fail=False)
        return column(name, schema)

    def _renamed(self, schema: pa.Schema, scope: Scope) -> Rows:
        columns: list[Column] = []
        for name in schema.names:
            new = {"snake_case": snake_case, "lower": str.lower, "upper": str.upper}[self.config.names or "lower"](name)
            if is_free(new, [made.name for made in columns], scope, "names", hint=f"rename '{name}' in a `mapping` before"):
                columns.append(Column(new, column(name, schema)))
        return Rows(tuple(columns))


def snake_case(name: str) -> str:
    """`customerID`, `Customer-Id` and `customer id` as `customer_id`."""
    split = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name))
    return re.sub(r"[\W_]+", "_", split).strip("_").lower() or name


def _applies(form: Form, name: str, schema: pa.Schema, scope: Scope) -> bool:
    """Whether the form goes with the column's type; reports where it does not."""
    kind = schema.field(name).type
    special = [key for key in ("phone", "email", "country", "currency", "unit") if getattr(form, key)]
    if len(special) > 1:
        scope.error(InvalidValue(f"a field has one of {', '.join(f'`{key}`' for key in special)}"), "fields", name)
        return False
    for_text = form.model_fields_set - {"unit", "on_error"}
    if kind != pa.string() and (for_text or not is_number(kind)):
        key = next(iter(sorted(for_text)), "unit")
        hint = "convert it with a `cast` before"
        scope.error(InvalidValue(f"`{key}` is for text, and '{name}' is {sql_type(kind)}", hint=hint), "fields", name, key)
        return False
    return True


def _text_sql(sql: str, text: Text) -> str:
    if text.nfc:
        sql = f"nfc_normalize({sql})"
    if text.trim:
        sql = f"regexp_replace({sql}, '^{_SPACE}|{_SPACE}$', '', 'g')"
    if text.collapse_spaces:
        sql = f"regexp_replace({sql}, '{_SPACE}', ' ', 'g')"
    if text.case is not None:
        sql = f"{text.case}({sql})"
    if text.aliases:
        cases = " ".join(f"WHEN {literal(value)} THEN {literal(other)}" for value, other in text.aliases.items())
        sql = f"CASE {sql} {cases} ELSE {sql} END"
    return f"nullif({sql}, '')" if text.empty_as_null else sql


def _normal_form(form: Form, kind: pa.DataType) -> NormalForm | None:
    """The form of text that needs a library, if there is one. Raises MissingDependency."""
    if form.phone is not None:
        return phone(form.phone)
    if form.email:
        return email()
    if form.country is not None:
        return country(form.country)
    if form.currency is not None:
        return currency(form.currency)
    if form.unit is not None and kind == pa.string():
        return quantity(form.unit.from_, form.unit.to)
    return None


class _Forms(BatchKernel):
    """Brings text columns into the forms of their libraries, each distinct value once."""

    def __init__(self, forms: Mapping[str, tuple[NormalForm, bool]], schema: pa.Schema) -> None:
        self._forms, self._schema = dict(forms), schema
        self._functions: dict[str, Any] = {}

    def open(self, session: KernelSession) -> None:
        self._functions = {name: form.function() for name, (form, _) in self._forms.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_functions": {}}

    def apply(self, batch: pa.RecordBatch, session: KernelSession) -> Applied:
        columns = {name: batch.column(name) for name in self._schema.names}
        broken: dict[int, list[tuple[str, str]]] = {}
        for name, (form, rejects) in self._forms.items():
            mapped = map_distinct(columns[name], self._functions[name], form.type)
            columns[name] = mapped.column
            if rejects:
                for row, message in zip(mapped.failed.to_pylist(), mapped.messages, strict=True):
                    broken.setdefault(row, []).append((name, f"'{name}': {message}"))
        made = pa.RecordBatch.from_arrays(list(columns.values()), schema=self._schema)
        if not broken:
            return Applied(made)
        rows = sorted(broken)
        good = pa.array(sorted(set(range(batch.num_rows)) - broken.keys()), pa.int64())
        messages = ["; ".join(message for _, message in broken[row]) for row in rows]
        rejected = rejections(rows, "not_normalised", messages, [broken[row][0][0] for row in rows])
        return Applied(made.take(good), good, rejected)
