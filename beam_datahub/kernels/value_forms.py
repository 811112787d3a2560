"""Forms that a text may have, such as an e-mail address or an IBAN: by SQL where SQL can tell, else by the field's library.

A library is asked once for each distinct value. Where a pattern is sure to take only values that the library takes, too,
the library sees just the others.
"""

from __future__ import annotations

import importlib
import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.errors import InvalidValue, MissingDependency
from beam_datahub.kernels import normal_forms
from beam_datahub.kernels.distinct import map_distinct
from beam_datahub.kernels.types import literal

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
_HOST = rf"{_LABEL}(\.{_LABEL})*"
_ZONE = "(Z|[+-][0-9]{2}(:[0-9]{2})?)?"


def _is(pattern: str) -> Callable[[str], str]:
    return lambda column: f"regexp_full_match({column}, {literal(pattern)})"


def _converts(pattern: str, kind: str) -> Callable[[str], str]:
    return lambda column: f"({_is(pattern)(column)} AND TRY_CAST({column} AS {kind}) IS NOT NULL)"


# Form → SQL over a column that is true for a value of the form, false or null for another, and never an error.
SQL_FORMS: dict[str, Callable[[str], str]] = {
    "date": _converts(_DATE, "DATE"),
    "time": _converts(_TIME, "TIME"),
    "datetime": _converts(f"{_DATE}[T ]{_TIME}{_ZONE}", "TIMESTAMPTZ"),
    "hostname": lambda column: f"({_is(_HOST)(column)} AND length({column}) <= 253)",
    "ipv4": _is(rf"({_OCTET}\.){{3}}{_OCTET}"),
    "json": lambda column: f"json_valid({column})",
    "mac": _is("([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}"),
    "uuid": _is("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"),
}

# Form → what python-stdnum calls it.
_NUMBERS = {
    "bic": "stdnum.bic",
    "ean": "stdnum.ean",
    "eu_vat": "stdnum.eu.vat",
    "iban": "stdnum.iban",
    "imei": "stdnum.imei",
    "isbn": "stdnum.isbn",
    "issn": "stdnum.issn",
    "lei": "stdnum.lei",
    "ssn": "stdnum.us.ssn",
}
# Form → (pattern that only takes what the library takes, too; exceptions from it).
_SURE: dict[str, tuple[str, str]] = {
    "email": (
        r"^[A-Za-z0-9]{1,20}([._+-][A-Za-z0-9]{1,20}){0,2}@([a-z0-9]{1,40}\.){1,3}[a-z]{2,10}$",
        r"[.@](arpa|invalid|local|localhost|onion|test)$",
    ),
    "url": (r"^https?://([a-z0-9]{1,40}\.){1,4}[a-z]{2,10}(:[1-9][0-9]{0,3})?(/[A-Za-z0-9._~-]*)*(\?[A-Za-z0-9._~=&-]*)?$", ""),
    "ip": (rf"^({_OCTET}\.){{3}}{_OCTET}$", ""),
}
_LEAST_CARD, _MOST_CARD = 12, 19


@dataclass(frozen=True)
class ValueForm:
    """A form that a library knows, with its options; picklable."""

    name: str
    options: tuple[str, ...] = ()

    def mask(self, column: pa.Array) -> pa.Array:
        """For each text whether it has the form; null for null."""
        texts = column.cast(pa.string())
        pattern, exceptions = _SURE.get(self.name, ("", ""))
        if not pattern:
            return self._asked(texts)
        sure = pc.match_substring_regex(texts, pattern)
        if exceptions:
            sure = pc.and_not(sure, pc.match_substring_regex(texts, exceptions))
        unsure = pc.indices_nonzero(pc.invert(pc.fill_null(sure, True)))
        if not len(unsure):
            return sure
        asked = self._asked(texts.take(unsure))
        return pc.replace_with_mask(sure, pc.fill_null(pc.invert(sure), False), asked)

    def _asked(self, texts: pa.Array) -> pa.Array:
        holds = _made(self)

        def ask(text: str) -> bool:
            # What a library makes of garbage is its own affair: a value that breaks it does not have the form.
            try:
                return bool(holds(text))
            except Exception:
                return False

        return map_distinct(texts, ask, pa.bool_()).column


@cache
def _made(form: ValueForm) -> Callable[[str], bool]:
    return _LIBRARIES[form.name](*form.options)


def value_form(name: str, *options: str) -> ValueForm:
    """The form `name` of those in LIBRARY_FORMS. Raises InvalidValue for an option, MissingDependency for its library."""
    _LIBRARIES[name](*options)
    return ValueForm(name, options)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = "python-stdnum" if name.startswith("stdnum") else name.replace("_", "-")
        raise MissingDependency(f"this form needs the package '{package}'", hint="pip install 'beam-datahub[quality]'") from error


def _normal(form: normal_forms.NormalForm) -> Callable[[str], bool]:
    """A form that there is a normal form of: what has one has the form."""
    convert = form.function()

    def holds(text: str) -> bool:
        convert(text)
        return True

    return holds


def _number(module: str) -> Callable[[], Callable[[str], bool]]:
    return lambda: _library(module).is_valid


def _card() -> Callable[[str], bool]:
    valid = _library("stdnum.luhn").is_valid

    def holds(text: str) -> bool:
        digits = text.replace(" ", "").replace("-", "")
        return digits.isascii() and digits.isdecimal() and _LEAST_CARD <= len(digits) <= _MOST_CARD and valid(digits)

    return holds


def _ip(kind: Callable[[str], object]) -> Callable[[], Callable[[str], bool]]:
    # Both raise ValueError for what is none, which counts as no.
    return lambda: lambda text: kind(text) is not None


def _url(*schemes: str) -> Callable[[str], bool]:
    valid = _library("rfc3986_validator").validate_rfc3986
    wanted = schemes or ("http", "https", "ftp", "ftps", "sftp", "ws", "wss")

    def holds(text: str) -> bool:
        if not valid(text, rule="URI"):
            return False
        parts = urlsplit(text)
        return parts.scheme in wanted and bool(parts.hostname) and (parts.port is None or parts.port > 0)

    return holds


def _phone(region: str = "") -> Callable[[str], bool]:
    if region:
        return _normal(normal_forms.phone(region))
    phonenumbers = normal_forms.library("phonenumbers")

    def holds(text: str) -> bool:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(text, None)))

    return holds


def _coded(table: str) -> Callable[..., Callable[[str], bool]]:
    def made(code: str = "") -> Callable[[str], bool]:
        library = normal_forms.library("pycountry")
        if not code:
            return _normal(normal_forms.country("alpha_2") if table == "countries" else normal_forms.currency("alpha_3"))
        codes = {getattr(each, code, None) for each in getattr(library, table)} - {None}
        if not codes:
            raise InvalidValue(f"there is no code '{code}'", hint="take alpha_2, alpha_3 or numeric")
        return codes.__contains__

    return made


_LIBRARIES: dict[str, Callable[..., Callable[[str], bool]]] = {
    **{form: _number(module) for form, module in _NUMBERS.items()},
    "country": _coded("countries"),
    "credit_card": _card,
    "currency": _coded("currencies"),
    "email": lambda: _normal(normal_forms.email()),
    "ip": _ip(ipaddress.ip_address),
    "ipv6": _ip(ipaddress.IPv6Address),
    "phone": _phone,
    "url": _url,
}
LIBRARY_FORMS = tuple(sorted(_LIBRARIES))
FORMS = tuple(sorted([*SQL_FORMS, *_LIBRARIES]))
