"""Normal forms of values that have libraries of their own: phone numbers, e-mails, countries, currencies, quantities."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import pyarrow as pa

from beam_datahub.errors import InvalidValue, MissingDependency

_LONGEST_SHOWN = 80
_QUANTITY = re.compile(r"\s*(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?)\s*(?P<unit>.{0,40})\s*", re.DOTALL)


@dataclass(frozen=True)
class NormalForm:
    """A form by its kind and options; `function` gives what turns a text into it, or raises ValueError."""

    kind: str
    options: tuple[str, ...]
    type: pa.DataType

    def function(self) -> Callable[[str], Any]:
        """The function from a text to its normal form; it raises ValueError where there is none."""
        return _FUNCTIONS[self.kind](*self.options)


def phone(region: str) -> NormalForm:
    """Phone numbers as E.164; `region` is the country of those without a country code. Raises InvalidValue."""
    if region.upper() not in library("phonenumbers").SUPPORTED_REGIONS:
        raise InvalidValue(f"'{region}' is no country", hint="give its ISO code of two letters, as DE")
    return NormalForm("phone", (region.upper(),), pa.string())


def email() -> NormalForm:
    """E-mail addresses with their domain in lower case."""
    library("email_validator")
    return NormalForm("email", (), pa.string())


def country(form: str) -> NormalForm:
    """Countries as `alpha_2`, `alpha_3`, `numeric` or `name` of ISO 3166."""
    library("pycountry")
    return NormalForm("country", (form,), pa.string())


def currency(form: str) -> NormalForm:
    """Currencies as `alpha_3`, `numeric` or `name` of ISO 4217."""
    library("pycountry")
    return NormalForm("currency", (form,), pa.string())


def quantity(source: str, target: str) -> NormalForm:
    """Texts such as `12 kg` as numbers in the unit `target`; `source` is the unit where none is written."""
    unit_factor(source, target)
    return NormalForm("quantity", (source, target), pa.float64())


def unit_factor(source: str, target: str) -> tuple[float, float]:
    """(factor, offset) that turn a number in `source` into one in `target`. Raises InvalidValue, MissingDependency."""
    try:
        at_zero, at_one = (_converted(Fraction(number), source, target) for number in (0, 1))
    except ValueError as error:
        raise InvalidValue(str(error), hint="units are written as kg, lb, degC, km/h or m**2") from error
    return float(at_one - at_zero), float(at_zero)


def library(name: str) -> Any:
    """A library that a form needs. Raises MissingDependency."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependency(
            f"this form needs the package '{name.replace('_', '-')}'", hint="pip install 'beam-datahub[normalise]'"
        ) from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")


def _phone_function(region: str) -> Callable[[str], str]:
    phonenumbers = library("phonenumbers")

    def convert(text: str) -> str:
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            number = None
        if number is None or not phonenumbers.is_valid_number(number):
            raise ValueError(f"{_shown(text)} is no phone number")
        return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))

    return convert


def _email_function() -> Callable[[str], str]:
    validator = library("email_validator")

    def convert(text: str) -> str:
        try:
            return str(validator.validate_email(text, check_deliverability=False).normalized)
        except validator.EmailNotValidError as error:
            raise ValueError(f"{_shown(text)} is no e-mail address: {error}") from error

    return convert


def _lookup_function(table: str, words: str) -> Callable[[str], Callable[[str], str]]:
    def made(form: str) -> Callable[[str], str]:
        entries = getattr(library("pycountry"), table)

        def convert(text: str) -> str:
            try:
                return str(getattr(entries.lookup(text.strip()), form))
            except (LookupError, AttributeError) as error:
                raise ValueError(f"{_shown(text)} is no {words}") from error

        return convert

    return made


def _quantity_function(source: str, target: str) -> Callable[[str], float]:
    @cache
    def factor(unit: str) -> tuple[float, float]:
        return unit_factor(unit, target)

    def convert(text: str) -> float:
        found = _QUANTITY.fullmatch(text)
        if found is None:
            raise ValueError(f"{_shown(text)} is no quantity")
        try:
            by, plus = factor(found["unit"].strip() or source)
        except InvalidValue as error:
            raise ValueError(f"{_shown(text)}: {error.reason}") from error
        return float(found["number"]) * by + plus

    return convert


@cache
def _units() -> Any:
    # Fractions are exact: 32 °F is 0 °C, not almost.
    return library("pint").UnitRegistry(non_int_type=Fraction)


def _converted(number: Fraction, source: str, target: str) -> Fraction:
    units = _units()
    for unit in (source, target):
        # Unit names, powers, products and quotients: nothing that could be computed at length.
        if not re.fullmatch(
            r"[^\W\d]\w*(?:\s*(?:\*\*|\^)\s*-?\d{1,2})?(?:\s*[*/·]\s*[^\W\d]\w*(?:\s*(?:\*\*|\^)\s*-?\d{1,2})?){0,5}|[°%]\w{0,10}",
            unit,
        ):
            raise ValueError(f"{_shown(unit)} is no unit")
    try:
        return Fraction(units.Quantity(number, units.parse_units(source)).to(units.parse_units(target)).magnitude)
    except Exception as error:
        # pint has no one base class for what a wrong unit raises: its own errors, tokenizer errors, AttributeError.
        raise ValueError(f"{_shown(source)} does not convert to {_shown(target)}") from error


_FUNCTIONS: dict[str, Callable[..., Callable[[str], Any]]] = {
    "phone": _phone_function,
    "email": _email_function,
    "country": _lookup_function("countries", "country"),
    "currency": _lookup_function("currencies", "currency"),
    "quantity": _quantity_function,
}
