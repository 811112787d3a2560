"""What columns hold by their names alone: secrets, identities, and other personal data."""

from __future__ import annotations

import re

# What a name means → the words that say so, as they stand beside each other in a name.
SENSITIVE = {
    "password": ("password", "passwd", "pwd", "passphrase", "passcode"),
    "api_key": ("api key", "apikey", "access key", "private key", "client key"),
    "secret": ("secret",),
    "token": ("token", "jwt"),
    "credentials": ("credential", "credentials"),
    "ssn": ("ssn", "social security", "social security number"),
    "credit_card": ("credit card", "creditcard", "card number", "card no", "card num", "cc number", "cc num", "pan"),
    "account_number": ("account number", "account no", "account num", "acct number", "acct no", "bank account", "iban"),
    "personal_id": ("personal id", "personal number", "national id", "passport", "passport number", "tax id", "identity number"),
}
# What personal data can be, and the words in a column's name that say so.
KINDS: dict[str, tuple[str, ...]] = {
    "email": ("email", "e mail", "mail", "email address", "emailaddress"),
    "phone": ("phone", "telephone", "mobile", "cellphone", "fax", "phone number", "phonenumber", "tel"),
    "name": (
        "first name",
        "last name",
        "full name",
        "middle name",
        "given name",
        "family name",
        "maiden name",
        "surname",
        "firstname",
        "lastname",
        "fullname",
        "forename",
        "contact name",
        "customer name",
        "person name",
        "user name",
        "username",
        "player name",
        "employee name",
        "card holder",
        "cardholder",
        "account holder",
    ),
    "date_of_birth": (
        "date of birth",
        "birth date",
        "birthdate",
        "birthday",
        "dob",
        "born",
        "birth day",
        "year of birth",
        "birth year",
    ),
    "address": (
        "street",
        "street address",
        "address line",
        "home address",
        "billing address",
        "shipping address",
        "address",
        "house number",
    ),
    "postcode": ("postcode", "post code", "postal code", "zip", "zip code", "zipcode", "plz"),
    "location": ("latitude", "longitude", "geo location", "geolocation"),
    "ssn": ("ssn", "social security", "social security number"),
    "national_id": (
        "national id",
        "personal id",
        "personal number",
        "tax id",
        "identity number",
        "pesel",
        "cpf",
        "bsn",
        "aadhaar",
        "curp",
    ),
    "passport": ("passport", "passport number", "passport no"),
    "credit_card": ("credit card", "creditcard", "card number", "card no", "card num", "cc number", "cc num", "pan"),
    "iban": ("iban",),
    "account_number": ("account number", "account no", "account num", "acct number", "acct no", "bank account"),
    "ip": ("ip", "ip address", "ipaddress", "ipv4", "ipv6", "remote addr", "client ip"),
    "credential": (),
}

# Words behind which a name speaks of a property of the thing, not of the thing: `password_changed_at`, `token_count`.
_ABOUT = {
    "at",
    "count",
    "length",
    "type",
    "expires",
    "expiry",
    "expired",
    "status",
    "enabled",
    "changed",
    "verified",
    "valid",
    "sent",
    "opened",
    "confirmed",
    "hash",
    "hashed",
    "domain",
    "provider",
    "template",
    "subject",
    "opt",
    "consent",
}


def words_of(name: str) -> list[str]:
    """The words of a column's name: `customerEmail2` and `customer-email 2` are `customer`, `email`, `2`."""
    split = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name))
    return re.sub(r"[\W_]+", " ", re.sub(r"(?<=[A-Za-z])(?=[0-9])", " ", split)).casefold().split()


def says(name: str, phrases: tuple[str, ...]) -> bool:
    """Whether a column's name has one of `phrases` in it, word by word."""
    text = f" {' '.join(words_of(name))} "
    return any(f" {phrase} " in text for phrase in phrases)


def is_about(name: str) -> bool:
    """Whether a name speaks of a property of what it names, as `email_verified_at` does."""
    return bool(_ABOUT & set(words_of(name)[1:] or ()))


def sensitive_kind(name: str) -> str | None:
    """What a column of this name holds that nobody should read, such as `password`; None where the name does not tell."""
    if is_about(name):
        return None
    return next((kind for kind, phrases in SENSITIVE.items() if says(name, phrases)), None)
