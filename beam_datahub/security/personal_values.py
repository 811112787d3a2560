"""Tells personal data by the values themselves: their shape, and their check digits where they have some."""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

# Issuers' first digits; a number also has 13 to 19 digits and passes Luhn's check.
_ISSUERS = re.compile(
    r"""4 | 5[1-5] | 222[1-9] | 22[3-9] | 2[3-6] | 27[01] | 2720      # Visa, Mastercard
    | 3[47] | 3(?:0[0-5]|095|[689]) | 35(?:2[89]|[3-8])               # American Express, Diners Club, JCB
    | 6011 | 64[4-9] | 65 | 62 | 81 | 220[0-4]                        # Discover, UnionPay, Mir
    | 50 | 5[6-9] | 6(?:0[0-9]|[37]) | 9792                           # Maestro, Elo, Verve, Hiper, Naranja, RuPay, Troy
    """,
    re.VERBOSE,
)
_CARD = re.compile(r"\d(?:[ .-]?\d){12,18}")
_NORTH_AMERICAN = re.compile(r"\(?[2-9]\d\d\)?[ .-]{1,2}\d{3}[ .-]\d{4}")
# Personal numbers with check digits, by country; `stdnum` knows their rules.
_NATIONAL = {
    "be.nn": r"\d{2}\.?\d{2}\.?\d{2}-?\d{3}\.?\d{2}",
    "br.cpf": r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}",
    "ch.ssn": r"756\.?\d{4}\.?\d{4}\.?\d{2}",
    "de.idnr": r"\d{2} ?\d{3} ?\d{3} ?\d{3}",
    "es.dni": r"\d{8}-?[A-Za-z]",
    "es.nie": r"[XYZ]\d{7}[A-Z]",
    "fi.hetu": r"\d{6}[-+A]\d{3}[0-9A-Z]",
    "fr.nir": r"[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}",
    "in_.aadhaar": r"\d{4}[ -]?\d{4}[ -]?\d{4}",
    "it.codicefiscale": r"[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]",
    "mx.curp": r"[A-Z]{4}\d{6}[HM][A-Z]{5}[0-9A-Z]\d",
    "nl.bsn": r"\d{9}",
    "pl.pesel": r"\d{11}",
    "se.personnummer": r"(?:\d{2})?\d{6}[-+]\d{4}",
    "tr.tckimlik": r"[1-9]\d{10}",
    "za.idnr": r"\d{13}",
}


@dataclass(frozen=True)
class Check:
    """How one kind of value is told: `shape` is what it looks like (RE2 syntax, of the whole text), `holds` whether it is one.

    `chance`: the share of other values of the same shape that pass by accident. `words` say what was checked. `named` is what it
    looks like in a column whose name says that it holds the kind.
    """

    kind: str
    shape: str
    holds: Callable[[str], bool]
    words: str
    chance: float = 0.0
    named: str | None = None


def is_credit_card(text: str) -> bool:
    """Whether a text is a card number: an issuer's first digits, 13 to 19 digits in all, and Luhn's check digit."""
    if not _CARD.fullmatch(text.strip()):
        return False
    digits = re.sub(r"\D", "", text)
    return bool(_ISSUERS.match(digits)) and passes_luhn(digits) and len(set(digits)) > 1


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is Luhn's check digit of those before it."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(int(digit) for digit in digits[-1::-2])) % 10 == 0


def is_ssn(text: str) -> bool:
    """Whether a text can be a number of the social security of the United States."""
    found = re.fullmatch(r"(\d{2,3})[- .]?(\d{2})[- .]?(\d{4})", text.strip())
    if found is None:
        return False
    area, group, serial = found.groups()
    # Where it was taken for a number, its first digit may have been a zero.
    area = area.zfill(3)
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000"


def is_ip(text: str) -> bool:
    """Whether a text is an IP address of version 4 or 6."""
    plain = re.sub(r"^((?:\d+\.){3}\d+)(?::\d{1,5}|/\d{1,2})$|^\[(.*)\](?::\d{1,5})?$", r"\1\2", text.strip())
    try:
        ipaddress.ip_address(plain)
    except ValueError:
        return False
    return True


def is_iban(text: str) -> bool:
    """Whether a text is an international account number: its country's length, and 1 when divided by 97."""
    compact = re.sub(r"[ -]", "", text).upper()
    if not re.fullmatch(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}", compact):
        return False
    if int("".join(str(int(sign, 36)) for sign in compact[4:] + compact[:4])) % 97 != 1:
        return False
    module = _stdnum("iban")
    return module is None or bool(module.is_valid(compact))


def is_phone(text: str) -> bool:
    """Whether a text is a phone number with its country, or laid out as in North America."""
    stripped = text.strip()
    if not stripped.startswith("+"):
        return bool(_NORTH_AMERICAN.fullmatch(stripped))
    library = _library("phonenumbers")
    if library is None:
        return 8 <= sum(sign.isdigit() for sign in stripped) <= 15
    try:
        return bool(library.is_possible_number(library.parse(stripped, None)))
    except library.NumberParseException:
        return False


def national_ids() -> list[Check]:
    """Checks of the personal numbers of countries; none where the library with their rules is not installed."""
    found = []
    for name, shape in _NATIONAL.items():
        module = _stdnum(name)
        if module is not None:
            country = name.partition(".")[0].rstrip("_").upper()
            words = f"check digits of {country}'s personal number"
            found.append(Check("national_id", shape, module.is_valid, words, chance=0.1))
    return found


CHECKS = (
    Check(
        "email",
        r"[\p{L}\p{M}\p{N}_.%+'-]{1,64}@(?:[\p{L}\p{N}](?:[\p{L}\p{M}\p{N}-]*[\p{L}\p{M}\p{N}])?\.)+[\p{L}]{2,24}",
        lambda text: True,
        "form of an e-mail address",
    ),
    Check("credit_card", r"\d(?:[ .-]?\d){12,18}", is_credit_card, "issuer, length and Luhn", chance=0.1),
    Check(
        "iban",
        r"[A-Za-z]{2}\d{2}[ -]?[A-Za-z0-9](?:[ -]?[A-Za-z0-9]){10,29}",
        is_iban,
        "country, length and remainder of 97",
        0.01,
    ),
    Check("ssn", r"\d{3}[- ]\d{2}[- ]\d{4}", is_ssn, "form and ranges of numbers", named=r"\d{2,3}[- .]?\d{2}[- .]?\d{4}"),
    Check("phone", r"\+[\d ()./-]{7,24}|\(?[2-9]\d\d\)?[ .-]{1,2}\d{3}[ .-]\d{4}", is_phone, "country and length"),
    Check(
        "ip",
        r"(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5}|/\d{1,2})?|\[?[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*(?:\](?::\d{1,5})?)?",
        is_ip,
        "form of an IP address",
    ),
)


@cache
def _stdnum(name: str) -> Any:
    return _library(f"stdnum.{name}")


@cache
def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
