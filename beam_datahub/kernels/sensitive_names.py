"""Which columns hold secrets or identities by their names alone."""

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
# Words behind which a name speaks of a property of the thing, not of the thing: `password_changed_at`, `token_count`.
_ABOUT = {"at", "count", "length", "type", "date", "expires", "expiry", "expired", "status", "is", "has", "enabled", "changed"}


def words_of(name: str) -> list[str]:
    """The words of a column's name: `customerEmail2` and `customer-email 2` are `customer`, `email`, `2`."""
    split = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name))
    return re.sub(r"[\W_]+", " ", re.sub(r"(?<=[A-Za-z])(?=[0-9])", " ", split)).casefold().split()


def says(name: str, phrases: tuple[str, ...]) -> bool:
    """Whether a column's name has one of `phrases` in it, word by word."""
    text = f" {' '.join(words_of(name))} "
    return any(f" {phrase} " in text for phrase in phrases)


def sensitive_kind(name: str) -> str | None:
    """What a column of this name holds that nobody should read, such as `password`; None where the name does not tell."""
    if _ABOUT & set(words_of(name)):
        return None
    return next((kind for kind, phrases in SENSITIVE.items() if says(name, phrases)), None)
