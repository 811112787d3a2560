"""Takes secrets out of text before it is shown, logged or stored."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from beam_datahub.errors import DataHubError, ErrorGroup
from beam_datahub.security import secret as _secret

REDACTED = "[redacted]"

# user:password@ in any URL; the user stays, it tells which account was refused. The password may itself hold an `@`.
_URL_PASSWORD = re.compile(r"(?P<user>[A-Za-z][A-Za-z0-9+.-]*://[^\s:/?#@\"']*):(?P<password>[^\s/?#\"']+)@")
_TRACEBACK = logging.Formatter()


def redact(text: str, secrets: Iterable[str] | None = None) -> str:
    """`text` without the values of `secrets` (default: all that this process knows) and without passwords in URLs."""
    for value in _secret.known if secrets is None else secrets:
        if value:
            text = text.replace(value, REDACTED)
    return _URL_PASSWORD.sub(rf"\g<user>:{REDACTED}@", text)


def redact_error(error: DataHubError, secrets: Iterable[str] | None = None) -> DataHubError:
    """`error` itself, with its reason and hint redacted; the members of a group as well."""
    values = list(_secret.known if secrets is None else secrets)
    if isinstance(error, ErrorGroup):
        for member in error.errors:
            redact_error(member, values)
    error.reason = redact(error.reason, values)
    error.hint = redact(error.hint, values) if error.hint else error.hint
    error.args = (error.reason,)
    return error


class RedactingFilter(logging.Filter):
    """Redacts log records, their tracebacks included; add it to every handler (a logger's filter misses its children)."""

    def __init__(self, secrets: Iterable[str] | None = None) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite `record` in place; it always passes."""
        record.msg, record.args = redact(record.getMessage(), self._secrets), None
        if record.exc_info:
            # A handler would format the exception again from exc_info, with its secrets: only its redacted text stays.
            record.exc_text = record.exc_text or _TRACEBACK.formatException(record.exc_info)
            record.exc_info = None
        if record.exc_text:
            record.exc_text = redact(record.exc_text, self._secrets)
        if record.stack_info:
            record.stack_info = redact(record.stack_info, self._secrets)
        return True
