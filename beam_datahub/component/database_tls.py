"""What to do about a server whose certificate, or whose lack of one, ends a connection."""

from __future__ import annotations

import re

# The options that name files of certificates.
TLS_FILES = ("tls_ca", "tls_certificate", "tls_key")
_HINTS = (
    (r"expired", "the server's certificate has expired: who runs the server has to renew it"),
    (r"not yet valid", "the server's certificate is not valid yet: compare the clocks"),
    (r"does not match|mismatch", "`host` must be a name in the server's certificate; `tls: verify-ca` does not look at the name"),
    (
        r"does not support SSL|doesn't support it|SSL is required but",
        "the server offers no TLS: have it switched on there; `tls: disable` sends everything in clear",
    ),
    (r"certificate file|No such file|root\.crt", "`tls_ca`, `tls_certificate` and `tls_key` must name files that are there"),
    (
        r"unable to get local issuer|self.signed|verify failed|unknown ca",
        "`tls_ca` must name the file of the certificates that signed the server's, and it must not have expired",
    ),
)


def tls_hint(said: str) -> str | None:
    """What to do about a failure of TLS; None where the words tell of none."""
    if not re.search(r"SSL|TLS|certificate", said, re.IGNORECASE):
        return None
    found = next((hint for pattern, hint in _HINTS if re.search(pattern, said, re.IGNORECASE)), None)
    return found or "look at `tls` and the server's certificate"


def handshake_hint(said: str) -> str | None:
    """What to do about a handshake that was refused, in the words of Python's own TLS; None where it is none, or broke off."""
    return tls_hint(said) if re.search(r"\[SSL: (?!UNEXPECTED_EOF)", said) else None
