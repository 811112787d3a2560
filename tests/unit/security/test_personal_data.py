"""Personal data is found by the names of columns and by values, and what only looks like it is not."""

from __future__ import annotations

import datetime
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.security.personal_data import find_personal_data
from beam_datahub.security.personal_values import is_credit_card, is_iban, is_ip, is_phone, is_ssn
from beam_datahub.security.sensitive_names import sensitive_kind
from tests.conftest import needed

CARDS = Path(__file__).parents[4] / "shared" / "cases" / "credit-cards" / "brand-cases.json"


def kinds(**columns: Any) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for finding in find_personal_data(pa.table(columns)):
        if finding.is_likely:
            found.setdefault(finding.column, set()).add(finding.kind)
    return found


@pytest.mark.skipif(not CARDS.is_file(), reason="the card numbers of other projects are not here")
def test_card_numbers_that_pass_luhn_and_no_others_are_found() -> None:
    cases = json.loads(CARDS.read_text("utf-8"))["cases"]
    cards = {case["number"] for case in cases if case["luhn_valid"] and case["plausible_pan"]}
    assert len(cards) == 44
    assert {case["number"] for case in cases if is_credit_card(case["number"])} == cards
    assert kinds(number=[case["number"] for case in cases]) == {"number": {"credit_card"}}


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (
            is_credit_card,
            ["4111 1111 1111 1111", "4111-1111-1111-1111"],
            ["4111111111111112", "411111111111", "0000000000000000"],
        ),
        (
            is_ssn,
            ["078-05-1120", "078051120"],
            ["000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000", "1-2-3"],
        ),
        (is_iban, ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"], ["DE88370400440532013000", "XX00", "DE89"]),
        (is_ip, ["192.0.2.1", "2001:db8::1", "::1"], ["192.0.2.256", "1.2.3", "12:30:00", "localhost"]),
        (is_phone, ["+49 30 901820", "(555) 010-4477", "555-010-4477"], ["+1", "2024-05-17", "12345"]),
    ],
)
def test_values_are_told_by_their_form_and_check_digits(check: Any, good: list[str], bad: list[str]) -> None:
    assert [text for text in good if not check(text)] == []
    assert [text for text in bad if check(text)] == []


def test_values_tell_what_names_do_not() -> None:
    found = kinds(
        a=["ada@example.org", "alan@example.com", None],
        b=["192.0.2.1", "198.51.100.7", "2001:db8::1"],
        c=["DE89370400440532013000", "GB82WEST12345698765432", None],
        d=["078-05-1120", "219-09-9999", "457-55-5462"],
        e=["+49 30 901820", "+1 212 555 0147", "+44 20 7946 0018"],
        f=[4111111111111111, 5555555555554444, 378282246310005],
    )
    assert found == {"a": {"email"}, "b": {"ip"}, "c": {"iban"}, "d": {"ssn"}, "e": {"phone"}, "f": {"credit_card"}}


def test_names_tell_what_values_do_not() -> None:
    found = kinds(
        firstName=["x"],
        surname=["x"],
        date_of_birth=[datetime.date(2000, 1, 1)],
        StreetAddress=["x"],
        zip=[10117],
        user_password=["x"],
        apiKey=["x"],
        passport_no=["x"],
    )
    assert found == {
        "firstName": {"name"},
        "surname": {"name"},
        "date_of_birth": {"date_of_birth"},
        "StreetAddress": {"address"},
        "zip": {"postcode"},
        "user_password": {"credential"},
        "apiKey": {"credential"},
        "passport_no": {"passport"},
    }


def test_a_name_is_a_persons_beside_an_address() -> None:
    assert kinds(name=["Ada"], price=[1]) == {}
    assert kinds(name=["Ada"], email=["ada@example.org"]) == {"name": {"name"}, "email": {"email"}}


def test_what_only_looks_like_it_is_not_found() -> None:
    numbers = random.Random(7)
    found = kinds(
        id=list(range(100_000_000, 100_000_500)),
        order_number=[str(numbers.randrange(4 * 10**15, 5 * 10**15)) for _ in range(500)],
        at=["2024-05-17T12:30:00Z"] * 500,
        time=["12:30:00"] * 500,
        version=["1.2.3"] * 500,
        email_verified_at=["2024-05-17"] * 500,
        email_count=[3] * 500,
        has_phone=[True] * 500,
        product=["name of a thing"] * 500,
        amount=[1.5] * 500,
        company=["Analytical Engines"] * 500,
        japan=["x"] * 500,
    )
    assert found == {}


def test_values_of_another_form_cast_doubt_on_a_name() -> None:
    (finding,) = find_personal_data(pa.table({"email": ["a***@example.org", "8f14e45fceea167a"]}))
    assert not finding.is_likely
    assert "another form" in finding.how


def test_each_finding_says_how_it_was_found() -> None:
    (finding,) = find_personal_data(pa.table({"card": ["4111111111111111", "x", None]}))
    assert (finding.kind, finding.matched, finding.sampled) == ("credit_card", 1, 2)
    assert finding.how == "issuer, length and Luhn: 1 of 2 values"
    assert "4111" not in repr(finding)


def test_fields_of_structs_and_lists_are_looked_into() -> None:
    rows = [{"who": {"mail": "ada@example.org"}, "all": ["alan@example.org"], "deep": [{"ip": "192.0.2.1"}]}]
    table = pa.Table.from_pylist(rows)
    assert {finding.column for finding in find_personal_data(table)} == {"who.mail", "all", "deep.ip"}


def test_national_numbers_need_their_check_digits() -> None:
    needed("stdnum")
    spanish = [
        "54362315K",
        "12345678Z",
        "00000000T",
        "99999999R",
        "11111111H",
        "22222222J",
        "33333333P",
        "44444444A",
        "55555555K",
        "66666666Q",
    ]
    assert kinds(a=spanish)["a"] == {"national_id"}
    assert "a" not in kinds(a=[text[:-1] + "A" for text in spanish])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("password", "password"),
        ("userPassword", "password"),
        ("API_KEY", "api_key"),
        ("access_token", "token"),
        ("client-secret", "secret"),
        ("db_credentials", "credentials"),
        ("SSN", "ssn"),
        ("creditCard", "credit_card"),
        ("account number", "account_number"),
        ("personal_id", "personal_id"),
        ("secretary", None),
        ("tokens_used", None),
        ("password_changed_at", None),
        ("company", None),
        ("description", None),
    ],
)
def test_names_of_secrets_are_known(name: str, kind: str | None) -> None:
    assert sensitive_kind(name) == kind


@pytest.mark.parametrize(
    ("column", "values", "kind"),
    [
        ("ssn", ["078051120", "219 09 9999"], "ssn"),
        ("ssn", [78051120, 219099999], "ssn"),
        ("x", ["4111\u20131111\u20131111\u20131111", None], "credit_card"),
        ("cc", ["4111.1111.1111.1111"], "credit_card"),
        ("x", ["192.0.2.1:8080", " [2001:db8::1]:443", "10.0.0.1/24"], "ip"),
        ("x", ["ädä@bücher.example", ""], "email"),
        ("x", [["ada@example.org"], [], None], "email"),
        ("email", ["", " "], "email"),
    ],
)
def test_unusual_spellings_are_found(column: str, values: list[Any], kind: str) -> None:
    assert kinds(**{column: values}) == {column: {kind}}


def test_digits_alone_are_no_social_security_number_without_a_name() -> None:
    assert kinds(x=["078051120", "219099999"]) == {}
