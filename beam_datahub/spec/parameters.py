"""The typed parameters of a spec: what it declares, and the values that a run gives to them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, Literal

from pydantic import field_validator

from beam_datahub.errors import InvalidValue, MissingValue, SpecError, UnknownName, nearest
from beam_datahub.security import Secret
from beam_datahub.spec.model import SpecModel
from beam_datahub.spec.tree import Keys
from beam_datahub.spec.words import shown

ParameterType = Literal["string", "integer", "number", "boolean", "date", "timestamp"]
_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date such as 2025-01-31",
    "timestamp": "a timestamp such as 2025-01-31T12:00:00Z",
}


class ParameterSpec(SpecModel):
    """A value that a run may set with `--set NAME=VALUE`; texts of the spec use it as `${param.NAME}`."""

    type: ParameterType = "string"
    """The type that a given value must have."""
    default: Any = None
    """The value without `--set`; a parameter without a default must be given. `${env.NAME}` may stand in it."""
    description: str | None = None
    """What the parameter is for."""
    choices: tuple[Any, ...] | None = None
    """The only values that it may have."""
    pattern: str | None = None
    """A regular expression that the whole text of a value must match."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return pattern


def typed(value: Any, kind: str) -> Any:
    """`value`, text or of its type already, as a parameter of type `kind`. Raises ValueError."""
    if kind == "string" and isinstance(value, (str, Secret)):
        return value
    if kind == "boolean" and isinstance(value, (bool, str)):
        if isinstance(value, bool):
            return value
        return {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}[
            value.strip().lower()
        ]
    if isinstance(value, bool):
        raise ValueError(value)
    if kind == "integer" and isinstance(value, (int, str)):
        return int(value)
    if kind == "number" and isinstance(value, (int, float, str)):
        return float(value) if not isinstance(value, str) else _number(value)
    if kind == "date":
        if isinstance(value, str):
            return date.fromisoformat(value.strip())
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
    if kind == "timestamp":
        if isinstance(value, str):
            return datetime.fromisoformat(value.strip())
        if isinstance(value, datetime):
            return value
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day)
    raise ValueError(value)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def resolve_parameters(
    declared: Mapping[str, ParameterSpec],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    at: Keys,
    report: Callable[[SpecError, Keys], None],
    given_at: Callable[[str], Keys] | None = None,
) -> dict[str, Any]:
    """The typed value of every parameter; `defaults` are the declared ones with their references resolved.

    `given_at` tells where a given value stands in the file, when it stands in one.
    """
    values: dict[str, Any] = {}
    for name in given:
        if name not in declared:
            guess = UnknownName("parameter", name, declared)
            if not declared:
                guess.hint = "it declares no parameters"
            report(guess, given_at(name) if given_at else at)
    for name, spec in declared.items():
        here = (*at, name)
        if name in given:
            where = given_at(name) if given_at else here
            raw, wrong = given[name], f"the parameter '{name}' must be"
        elif name in defaults and defaults[name] is not None:
            raw, where, wrong = defaults[name], (*here, "default"), "must be"
        else:
            hint = f"give it under `config`: `{name}: …`" if given_at else f"give it with --set {name}=…, or a default"
            report(MissingValue(f"the parameter '{name}' has no value", hint=hint), given_at(name) if given_at else here)
            continue
        try:
            values[name] = typed(raw, spec.type)
        except (ValueError, KeyError):
            quotes = "put it into quotes" if spec.type == "string" else None
            report(InvalidValue(f"{wrong} {_WORDS[spec.type]}, not {shown(raw)}", hint=quotes), where)
            continue
        if spec.pattern is not None and not re.fullmatch(spec.pattern, str(raw)):
            report(InvalidValue(f"{wrong} text that matches {spec.pattern}, not {shown(raw)}"), where)
            continue
        if spec.choices is not None and values[name] not in spec.choices:
            options = [str(choice) for choice in spec.choices]
            meant = nearest(str(values[name]), options)
            reason = f"{wrong} one of {', '.join(options)}, not {shown(raw)}"
            report(InvalidValue(reason, hint=f"did you mean '{meant}'?" if meant else None), where)
    return values
