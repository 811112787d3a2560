"""Says in plain words what a value is and what it should have been, from pydantic's findings."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from beam_datahub.errors import InvalidValue, MissingValue, SpecError, UnknownName, nearest
from beam_datahub.security import Secret
from beam_datahub.spec.tree import Keys

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping (key: value)",
    "mapping_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "dataclass_type": "a mapping (key: value)",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "none_required": "nothing",
    "date_type": "a date such as 2025-01-31",
    "date_parsing": "a date such as 2025-01-31",
    "date_from_datetime_parsing": "a date such as 2025-01-31",
    "date_from_datetime_inexact": "a date such as 2025-01-31",
    "datetime_type": "a timestamp such as 2025-01-31T12:00:00Z",
    "datetime_parsing": "a timestamp such as 2025-01-31T12:00:00Z",
    "datetime_from_date_parsing": "a timestamp such as 2025-01-31T12:00:00Z",
    "time_delta_type": "a duration",
    "time_delta_parsing": "a duration",
}
_BOUNDS = {
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_long": "at most {max_length} characters long",
}

_INSTEAD_OF_LISTS = {
    "sources": "name each: `orders: {connector: …}`",
    "source": "several stand under `sources`, each with its name: `orders: {connector: …}`",
    "destination": "several stand under `destinations`",
    "fields": "name each: `total: amount * quantity`",
    "measures": "name each: `revenue: sum(total)`",
    "types": "name the column of each: `amount: decimal(12,2)`",
    "schema": "name the column of each: `amount: decimal(12,2)`",
    "parameters": "name each: `day: {type: date}`",
}


def shown(value: Any) -> str:
    """`value` as an error message shows it: short, never a secret."""
    if value is None:
        return "nothing"
    if isinstance(value, Secret):
        return "a secret"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{value if len(value) <= 60 else value[:57] + '...'}'"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, date):
        return f"the date {value.isoformat()}"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence):
        return "a list"
    return f"a value of type {type(value).__name__}"


def spec_errors(
    model: type[BaseModel], raw: Any, failure: ValidationError, *, beside: Iterable[str] = ()
) -> list[tuple[Keys, SpecError]]:
    """The findings of `failure`, each with its path of keys in `raw` and as a sentence, one per place.

    `beside` are the keys that stand beside the options of `model`, for a guess at what an unknown one was to be.
    """
    found: dict[Keys, list[ErrorDetails]] = {}
    for detail in failure.errors(include_url=False):
        found.setdefault(_keys(detail, raw), []).append(detail)
    errors: list[tuple[Keys, SpecError]] = []
    for keys, details in found.items():
        if _shadowed(keys, details, found):
            continue
        errors.append((keys, _error(model, keys, details, beside)))
    return errors


def _shadowed(keys: Keys, details: list[ErrorDetails], found: Mapping[Keys, list[ErrorDetails]]) -> bool:
    """Whether it only says that one form of a union does not fit, while another form got further."""
    if all(len(detail["loc"]) == len(keys) for detail in details):
        return False
    return any(len(other) > len(keys) and other[: len(keys)] == keys for other in found)


def _keys(detail: ErrorDetails, raw: Any) -> Keys:
    """The path of keys in the user's data; pydantic's path names the forms of a union as well."""
    keys: list[str | int] = []
    here = raw
    loc = detail["loc"]
    for position, element in enumerate(loc):
        if isinstance(here, Mapping) and element in here:
            here = here[str(element)]
        elif isinstance(here, Sequence) and not isinstance(here, str) and isinstance(element, int) and element < len(here):
            here = here[element]
        elif isinstance(here, Mapping) and isinstance(element, int) and element < len(here):
            # An option that takes a mapping as another form of a list: its entries are numbered in their order.
            element = list(here)[element]
            here = here[element]
        elif position < len(loc) - 1 or detail["type"] not in ("missing", "extra_forbidden"):
            continue
        keys.append(element)
    return tuple(keys)


_INSTEAD_OF_TEXTS = {
    "source": "such as `{connector: csv, connection: {path: data/*.csv}}`",
    "destination": "such as `{connector: parquet, connection: {path: out/orders}}`",
    "contract": "such as `{columns: freeze, types: freeze}`",
}
# What a spec does not say, although others' files do.
_NOT_IN_SPECS = {
    "schedule": "a spec does not say when it runs: have cron, a scheduler or a Kubernetes CronJob call `beam-datahub run`",
}


def _error(model: type[BaseModel], keys: Keys, details: list[ErrorDetails], beside: Iterable[str]) -> SpecError:
    detail = details[0]
    kind, value = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        names = _names(model, detail["loc"][:-1])
        unknown = UnknownName("option", str(keys[-1]), [*names, *beside] if len(keys) == 1 else names)
        if len(keys) == 1 and "transformations" in names and unknown.name in _NOT_IN_SPECS:
            unknown.hint = _NOT_IN_SPECS[unknown.name]
        if "config" in names and nearest(unknown.name, unknown.candidates) is None:
            unknown.hint = f"the options of a transformation stand under `config`; here stand: {', '.join(unknown.candidates)}"
        return unknown
    if kind == "missing":
        return MissingValue(f"`{keys[-1]}` is missing")
    if isinstance(value, Secret):
        return InvalidValue(
            "a secret cannot stand here: this option is shown in plans and logs",
            hint="use ${env.NAME} or ${param.NAME} for what is not secret",
        )
    if kind in ("too_short", "string_too_short") and not value:
        return InvalidValue("must not be empty")
    wanted = list(dict.fromkeys(_wanted(each) for each in details))
    choices = [choice for each in details for choice in _choices(each)]
    guess = nearest(value, choices) if isinstance(value, str) and choices else None
    hint = f"did you mean '{guess}'?" if guess else getattr(detail.get("ctx", {}).get("error"), "hint", None)
    if hint is None and any(each["type"] == "string_type" for each in details) and isinstance(value, (int, float, date)):
        hint = "put it into quotes"
    if hint is None and isinstance(value, str) and value and "a list" in wanted and "text" not in wanted:
        hint = f"write `[{value}]`"
    if hint is None and isinstance(value, Mapping) and wanted == ["a list"]:
        hint = "begin each entry with a dash: `- key: value`"
    if hint is None and isinstance(value, str) and wanted == ["a mapping (key: value)"]:
        hint = _INSTEAD_OF_TEXTS.get(str(keys[-1]))
    if hint is None and isinstance(value, list) and wanted == ["a mapping (key: value)"]:
        hint = _INSTEAD_OF_LISTS.get(str(keys[-1]), "leave out the dashes: `key: value`")
    if hint is None and value is None and isinstance(keys[-1], int) and "text" in wanted:
        hint = "YAML reads a bare null as nothing; put the word into quotes"
    if all(each["type"] in ("value_error", "assertion_error") for each in details):
        return InvalidValue(" or ".join(wanted), hint=hint)
    return InvalidValue(f"must be {' or '.join(wanted)}, not {shown(value)}", hint=hint)


def _wanted(detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _WANTED:
        return _WANTED[kind]
    if kind in ("literal_error", "enum"):
        return str(context["expected"])
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**context)
    if kind == "string_too_short":
        return f"at least {context['min_length']} characters long"
    if kind == "too_short":
        return f"a list with at least {context['min_length']} entries"
    if kind == "too_long":
        return f"a list with at most {context['max_length']} entries"
    if kind in ("value_error", "assertion_error"):
        return detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = detail["msg"]
    return message.removeprefix("Input should be ") if message.startswith("Input should be ") else f"such that: {message}"


def _choices(detail: ErrorDetails) -> list[str]:
    if detail["type"] not in ("literal_error", "enum"):
        return []
    return re.findall(r"'([^']*)'", str(detail.get("ctx", {}).get("expected", "")))


def _names(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The option names of the model that stands at `loc` inside `model`."""
    here: list[Any] = [model]
    for element in loc:
        further = [inner for kind in here for inner in _inner(kind, element)]
        if further:
            here = [leaf for kind in further for leaf in _leaves(kind)]
        elif isinstance(element, str):
            # The element names a form of a union and not a key.
            here = [kind for kind in here if getattr(kind, "__name__", "") == element] or here
    return sorted({name for kind in here if _is_model(kind) for name in option_names(kind)})


def option_names(model: type[BaseModel]) -> list[str]:
    """The names of a model's options as a user writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _leaves(kind: Any) -> list[Any]:
    """The forms that an annotation allows, unions and annotations taken apart."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        return _leaves(typing.get_args(kind)[0])
    if origin in (typing.Union, types.UnionType):
        return [leaf for each in typing.get_args(kind) for leaf in _leaves(each)]
    return [kind]


def _inner(kind: Any, element: str | int) -> list[Any]:
    if _is_model(kind):
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        return [fields[str(element)].annotation] if str(element) in fields else []
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping) and len(args) == 2:
        return [args[1]]
    if isinstance(origin, type) and issubclass(origin, Sequence) and args and isinstance(element, int):
        return [args[0]] if args[-1] is Ellipsis or len(args) == 1 else [args[element]] if element < len(args) else []
    return []
