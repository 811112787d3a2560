from __future__ import annotations

import io
import json
import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_datahub.errors import ErrorGroup, InvalidValue, Place, TargetUnusable
from beam_datahub.security import RedactingFilter, Reference, Secret, Secrets, redact, redact_error

PASSWORD = 'p@ss/w:rd "x"\'\n'


@pytest.mark.parametrize(
    "text",
    [
        f"cannot connect with {PASSWORD}",
        f"postgres://u:{quote(PASSWORD, safe='')}@h/db refused",
        f"body was {json.dumps({'password': PASSWORD})}",
        f"options were { ({'password': PASSWORD})!r}",
    ],
)
def test_a_secret_goes_in_every_form_in_which_it_is_written(text: str) -> None:
    shown = redact(text, Secrets([PASSWORD]))
    assert "[redacted]" in shown
    for part in (PASSWORD, quote(PASSWORD, safe=""), "w:rd", "w%3Ard"):
        assert part not in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://ada:hunter2@db:5432/x", "postgresql://ada:[redacted]@db:5432/x"),
        ("to 'mysql+pymysql://ada:p@ss@db/x' failed", "to 'mysql+pymysql://ada:[redacted]@db/x' failed"),
        ("redis://:hunter2@cache", "redis://:[redacted]@cache"),
        ("https://example.org:8080/a@b", "https://example.org:8080/a@b"),
        ("https://example.org/?q=a:b@c", "https://example.org/?q=a:b@c"),
        ("mail to ada@example.org: done", "mail to ada@example.org: done"),
        ("s3://bucket/key", "s3://bucket/key"),
    ],
)
def test_passwords_in_urls_go_and_the_rest_stays(text: str, expected: str) -> None:
    assert redact(text, ()) == expected


def test_a_secret_that_holds_another_goes_as_a_whole() -> None:
    assert redact("abcdef and abc", Secrets(["abc", "abcdef"])) == "[redacted] and [redacted]"


@given(st.text(min_size=8), st.text(), st.text())
def test_no_secret_is_left_in_a_text(secret: str, before: str, after: str) -> None:
    left = redact(before + secret + after, Secrets([secret])).replace("[redacted]", "")
    assert secret not in left or secret in before + after


def test_a_resolved_secret_is_known_without_being_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_TOKEN", "tok-8c1f")
    assert Secret([Reference("environment", "token")]).reveal() == "tok-8c1f"
    assert redact("401 for tok-8c1f") == "401 for [redacted]"


def test_errors_are_redacted_with_their_hints_and_members() -> None:
    inner = InvalidValue("bad hunter2", hint="not hunter2", place=Place("a.yaml", 1))
    group = ErrorGroup([inner, TargetUnusable("cannot write to ftp://u:pw@h")])
    redact_error(group, Secrets(["hunter2"]))
    shown = f"{group} {group.args} {group.reason} {inner.facts()} {inner.args}"
    assert "hunter2" not in shown
    assert "u:pw@" not in shown
    assert str(inner) == "a.yaml:1: bad [redacted] [DH102]"


def test_a_log_shows_no_secret_not_even_in_a_traceback() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(Secrets(["hunter2"])))
    logger = logging.getLogger("tests.security.redaction")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        logger.warning("login as %s with %s to %s", "ada", "hunter2", "pg://u:pw@h", stack_info=True)
        try:
            raise ValueError("hunter2 was refused")
        except ValueError:
            logger.exception("failed for %(who)s", {"who": "hunter2"})
    finally:
        logger.removeHandler(handler)
    shown = stream.getvalue()
    assert "login as ada with [redacted] to pg://u:[redacted]@h" in shown
    assert "ValueError: [redacted] was refused" in shown
    assert "failed for [redacted]" in shown
    # The source lines that a traceback quotes are those of this test, and hold the word as well.
    assert "hunter2" not in shown


def test_a_formatter_of_its_own_finds_no_exception_to_show() -> None:
    try:
        raise ValueError("hunter2 was refused")
    except ValueError as error:
        details = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", None, details)
    assert RedactingFilter(Secrets(["hunter2"])).filter(record)
    assert record.exc_info is None
    assert record.exc_text is not None
    assert "ValueError: [redacted] was refused" in record.exc_text
