"""Masks with a key: stable, reversible where they say so, and showing nothing of the key."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.kernels.pseudonyms import FormatPreserved, Shifted, Tokenised
from beam_datahub.kernels.types import JSON
from beam_datahub.security import Reference, Secret
from beam_datahub.testing.steps import StepRun, run_step

KEY = "a-key-of-more-than-sixteen"
OTHER = "another-key-of-some-length"


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_KEY", KEY)
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_OTHER", OTHER)


def masked(fields: Any, rows: list[dict[str, Any]], schema: dict[str, str] | None = None, **config: Any) -> StepRun:
    wanted = {"fields": fields, "key": "${secret.KEY}", **config}
    return run_step("mask", wanted, {"input": rows}, schema={"input": schema} if schema else None)


def values(found: StepRun, name: str = "v") -> list[Any]:
    return [row[name] for row in found.rows]


def test_equal_values_have_equal_tokens_of_the_wanted_form() -> None:
    rule = {"method": "tokenise", "prefix": "cust_", "length": 12, "alphabet": "digits"}
    first, second, empty, again = values(masked({"v": rule}, [{"v": "a"}, {"v": "b"}, {"v": None}, {"v": "a"}]))
    assert first == again != second
    assert empty is None
    assert re.fullmatch(r"cust_\d{12}", first)


def test_each_tenant_has_tokens_of_its_own() -> None:
    rows = [{"v": "a", "firm": 1}, {"v": "a", "firm": 2}, {"v": "a", "firm": 1}, {"v": "a", "firm": None}, {"v": None, "firm": 1}]
    one, two, same, none, null = values(masked({"v": {"method": "tokenise", "tenant": "firm"}}, rows))
    assert one == same
    assert len({one, two, none}) == 3
    assert null is None


def test_a_token_is_the_same_in_every_process() -> None:
    program = (
        "import pyarrow as pa\n"
        "from beam_datahub.kernels.pseudonyms import Tokenised\n"
        "from beam_datahub.security import Reference, Secret\n"
        "mask = Tokenised('v', Secret([Reference('environment', 'KEY')]), 't_', 20, 'base32')\n"
        "print(mask.masked(pa.record_batch({'v': ['ada']})).column[0].as_py())\n"
    )
    others = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    here = Tokenised("v", Secret([Reference("environment", "KEY")]), "t_", 20, "base32")
    assert others == {here.masked(pa.record_batch({"v": ["ada"]})).column[0].as_py()}


def test_what_lies_between_the_dates_of_one_subject_is_kept() -> None:
    days = [datetime.date(2024, 1, 1), datetime.date(2024, 2, 29), datetime.date(2025, 1, 1)]
    rows = [{"who": who, "v": day, "at": f"{day} 12:30:00"} for who in range(40) for day in days]
    rule = {"method": "shift_date", "subject": "who", "days": 30}
    found = masked({"v": rule, "at": rule}, rows, {"v": "date", "at": "timestamp"})
    shifts = {}
    for before, after in zip(rows, found.rows, strict=True):
        shift = (after["v"] - before["v"]).days
        assert 1 <= abs(shift) <= 30
        assert shifts.setdefault(before["who"], shift) == shift
        assert after["at"].date() == after["v"]
        assert after["at"].time() == datetime.time(12, 30)
    assert len(set(shifts.values())) > 10


def test_an_infinite_date_stays_and_a_missing_one_as_well() -> None:
    mask = Shifted("v", Secret(["x"], KEY), "who", 365, pa.date32())
    column = pa.array([2**31 - 1, None, -(2**31 - 1), 0], pa.int32()).cast(pa.date32())
    days = mask.masked(pa.record_batch([column, pa.array([1, 1, 1, None])], ["v", "who"])).column.cast(pa.int32()).to_pylist()
    assert days[:3] == [2**31 - 1, None, -(2**31 - 1)]
    assert 1 <= abs(days[3]) <= 365


def test_a_format_is_preserved_and_the_key_undoes_it() -> None:
    cards = ["4111-1111-1111-1111", "378282246310005", None]
    there = masked({"v": "fpe"}, [{"v": card} for card in cards])
    for before, after in zip(cards, values(there), strict=True):
        assert (before is None) == (after is None)
        if before is not None:
            assert after != before
            assert re.sub(r"\d", "9", after) == re.sub(r"\d", "9", before)
    back = masked({"v": "fpe_decrypt"}, [{"v": card} for card in values(there)])
    assert values(back) == cards


@pytest.mark.parametrize(("text", "words"), [("12345", "fewer than 6"), ("AB1234567", "letters or digits that are not")])
def test_what_cannot_keep_its_format_is_rejected_without_showing_it(text: str, words: str) -> None:
    found = masked({"v": "fpe"}, [{"v": text}, {"v": "123456"}])
    assert len(found.rows) == 1
    assert [record["reason"] for record in found.rejected] == ["not_masked"]
    assert words in found.rejected[0]["message"]
    assert text not in found.rejected[0]["message"]
    assert values(masked({"v": {"method": "fpe", "on_error": "null"}}, [{"v": text}])) == [None]


def test_tenants_do_not_share_a_cipher() -> None:
    mask = FormatPreserved("v", Secret(["x"], KEY), "digits", tenant="firm")
    one, two = mask.masked(pa.record_batch({"v": ["123456789"] * 2, "firm": ["a", "b"]})).column.to_pylist()
    assert one != two


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("varchar", "äöü '\"\n\x00 😀"),
        ("varchar", ""),
        ("bigint", -(2**63)),
        ("double", 0.1),
        ("double", float("inf")),
        ("decimal(38,10)", Decimal("-1234567890.0123456789")),
        ("boolean", False),
        ("date", datetime.date(1815, 12, 10)),
        ("timestamp", datetime.datetime(2024, 2, 29, 23, 59, 59, 999999)),
        ("timestamptz", datetime.datetime(2024, 2, 29, 23, 59, 59, 1, datetime.UTC)),
        ("time", datetime.time(1, 2, 3, 4)),
        ("blob", b"\x00\xff'\\x"),
        ("json", '{"a": ["de", null, 1.50]}'),
        ("json", '"de"'),
        ("varchar[]", ["a, b", None, "it's"]),
        ("struct(a bigint, b varchar)", {"a": 1, "b": "x: {y}"}),
    ],
)
def test_what_is_encrypted_comes_back_as_it_was(kind: str, value: Any) -> None:
    there = masked({"v": "encrypt"}, [{"v": value}, {"v": None}], {"v": kind})
    sealed = values(there)
    assert sealed[0].startswith("enc:1:")
    assert sealed[1] is None
    back = masked({"v": {"method": "decrypt", "type": kind}}, [{"v": text} for text in sealed], {"v": "varchar"})
    assert not back.rejected
    came = back.rows[0]["v"]
    assert str(came) == str(value) if back.schema.field("v").type == JSON else came == value
    assert back.rows[1]["v"] is None


def test_equal_values_are_told_only_when_wanted() -> None:
    rows = [{"v": "a"}, {"v": "a"}]
    assert len(set(values(masked({"v": "encrypt"}, rows)))) == 2
    assert len(set(values(masked({"v": {"method": "encrypt", "deterministic": True}}, rows)))) == 1


def test_a_key_can_be_changed() -> None:
    sealed = values(masked({"v": {"method": "encrypt", "key": "${secret.OTHER}"}}, [{"v": "a"}]))
    old = {"method": "decrypt", "old_keys": ["${secret.OTHER}"]}
    assert values(masked({"v": old}, [{"v": sealed[0]}])) == ["a"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: "plain", "is not encrypted"),
        (lambda text: text[:20], "is damaged"),
        (lambda text: text[:-4] + ("AAAA" if not text.endswith("AAAA") else "BBBB"), "is damaged, or was changed"),
        (lambda text: values(masked({"v": {"method": "encrypt", "key": "${secret.OTHER}"}}, [{"v": "a"}]))[0], "another key"),
    ],
)
def test_what_cannot_be_decrypted_is_rejected(damage: Any, words: str) -> None:
    sealed = values(masked({"v": "encrypt"}, [{"v": "a rather long value"}]))[0]
    found = masked({"v": "decrypt"}, [{"v": damage(sealed)}, {"v": sealed}])
    assert values(found) == ["a rather long value"]
    assert words in found.rejected[0]["message"]


def test_sensitive_columns_are_found_by_their_names() -> None:
    rows = [{"id": 1, "apiKey": "k", "user_password": "p", "password_changed_at": "2024", "company": "c", "Account Number": 12}]
    found = masked("auto", rows).rows[0]
    hidden = {name for name, value in found.items() if str(value).startswith("enc:1:")}
    assert hidden == {"apiKey", "user_password", "Account Number"}
    redacted = masked({"apiKey": "null"}, rows, sensitive="redact").rows[0]
    assert redacted["apiKey"] is None
    assert redacted["user_password"] == "***"
    assert redacted["company"] == "c"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"method": "tokenise", "length": 4}, "at least 8"),
        ({"method": "encrypt", "key": "${secret.SHORT}"}, "fewer than 16 characters"),
        ({"method": "email", "last": 4}, "`last` is not for `email`"),
        ({"method": "shift_date", "subject": "v"}, "not a date or a time"),
        ({"method": "tokenise", "tenant": "nobody"}, "no column 'nobody'"),
        ({"method": "generalise"}, "takes one of"),
        ({"method": "generalise", "width": 5}, "is for numbers"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(rule: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_SHORT", "short-secret")
    with pytest.raises(DataHubError) as raised:
        masked({"v": rule}, [{"v": "x"}])
    assert words in str(raised.value)
    assert "short-secret" not in str(raised.value) + str(raised.value.hint)
