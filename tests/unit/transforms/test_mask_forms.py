"""What each form shows of a value, and that it never shows more."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_datahub.kernels import mask_forms
from beam_datahub.kernels.session import KernelSession
from beam_datahub.testing.steps import run_step

LAST_FOUR = ("ssn", "card", "phone")


@pytest.fixture(scope="module")
def session() -> Any:
    with KernelSession(threads=1) as opened:
        yield opened


def show(session: KernelSession, form: str, texts: list[str | None]) -> list[str | None]:
    sql = mask_forms.email("t", 2, "***") if form == "email" else getattr(mask_forms, form)("t", "***")
    batch = pa.record_batch({"t": pa.array(texts, pa.string())})
    session.put("input", batch)
    return session.query(f"SELECT {sql} AS t FROM input").column("t").to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("form", "text", "shown"),
    [
        ("ssn", "078-05-1120", "XXX-XX-1120"),
        ("ssn", "078051120", "XXX-XX-1120"),
        ("ssn", "078-05-112", "***"),
        ("card", "4111 1111 1111 1111", "XXXX-XXXX-XXXX-1111"),
        ("card", "378282246310005", "XXXX-XXXX-XXXX-0005"),
        ("card", "card 4111111111111111", "***"),
        ("phone", "555-010-4477", "XXX-XXX-4477"),
        ("phone", "+49 (30) 901820", "XXX-XXX-1820"),
        ("phone", "911", "***"),
        ("ip", "10.0.0.255", "XXX.XXX.XXX.255"),
        ("ip", "::1", "XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:1"),
        ("ip", "fe80::", "XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:0"),
        ("ip", "::ffff:192.0.2.1", "XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXX.XXX.XXX.1"),
        ("ip", "localhost", "***"),
        ("iban", "GB82WEST12345698765432", "GBXXXXXXXXXXXXXXXX5432"),
        ("iban", "DE89 3704", "***"),
        ("name", "Ada  King Lovelace", "A*** K*** L***"),
        ("name", "J R R Tolkien", "*** *** *** T***"),
        ("email", "ada@example.org", "ad***@example.org"),
        ("email", "ad@example.org", "***@example.org"),
    ],
)
def test_a_form_shows_its_part(session: KernelSession, form: str, text: str, shown: str) -> None:
    assert show(session, form, [text, None]) == [shown, None]


texts = st.one_of(
    st.text(max_size=40),
    st.text("0123456789 -.()+/", max_size=30),
    st.text("0123456789abcdefABCDEF:.", max_size=45),
    st.from_regex(r"[A-Z]{2}[0-9]{2}( ?[A-Z0-9]{4}){2,7}[A-Z0-9]{0,3}", fullmatch=True),
    st.from_regex(r"\S{0,6}@\S{1,10}\n?", fullmatch=True),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(texts.map(lambda text: text.replace("\x00", "")), min_size=1, max_size=30))
def test_no_form_shows_more_than_it_says(session: KernelSession, values: list[str]) -> None:
    for form in LAST_FOUR:
        for before, after in zip(values, show(session, form, list(values)), strict=True):
            digits = re.sub("[^0-9]", "", before)
            assert after == "***" or re.sub("[^0-9]", "", after or "") == digits[-4:]
            assert len(digits) >= 7 or after == "***"
            assert not re.search(r"[^\W\dX_]", after or "")
    for after in show(session, "ip", list(values)):
        assert after == "***" or (
            re.fullmatch(r"(XXX\.){3}\d{1,3}|(XXXX:){6,7}(?:(XXX\.){3}\d{1,3}|[0-9A-Fa-f]{1,4})", after or "")
        )
    for before, after in zip(values, show(session, "iban", list(values)), strict=True):
        if after != "***":
            kept = re.sub("[^A-Za-z0-9]", "", after or "")
            assert len(kept) >= 13
            assert set(kept[2:-4]) == {"X"}
            assert kept[:2] + kept[-4:] == re.sub("[^A-Za-z0-9]", "", before)[:2] + re.sub("[^A-Za-z0-9]", "", before)[-4:]
    for before, after in zip(values, show(session, "name", list(values)), strict=True):
        assert all(word == "***" or len(word) == 4 for word in (after or "").split(" ") if word), (before, after)
    for before, after in zip(values, show(session, "email", list(values)), strict=True):
        local, hidden, domain = (after or "").rpartition("***")
        assert hidden
        assert before.lstrip().startswith(local)
        assert len(local) <= 2 or not local.isascii()
        assert domain in ("", f"@{before.strip().rpartition('@')[2]}")


@pytest.mark.parametrize(
    ("rule", "kind", "values", "shown"),
    [
        ({"width": 10}, "bigint", [0, 9, 10, -1, None], ["0-9", "0-9", "10-19", "-10--1", None]),
        ({"width": 0.5}, "double", [0.2, 0.5, None], ["[0.0, 0.5)", "[0.5, 1.0)", None]),
        ({"bounds": [18, 65]}, "integer", [17, 18, 64, 65, None], ["<18", "18-64", "18-64", "65+", None]),
        ({"bounds": [1.5, 2]}, "decimal(9,2)", ["1.49", "1.50", "2.00"], ["<1.5", "[1.5, 2)", "2+"]),
        ({"first": 3}, "varchar", ["10117", "10", None], ["101**", "**", None]),
        ({"to": "year"}, "varchar", [], []),
    ],
)
def test_generalising_leaves_a_band(rule: dict[str, Any], kind: str, values: list[Any], shown: list[Any]) -> None:
    if not values:
        rows = [{"v": "2024-05-17"}, {"v": None}]
        found = run_step(
            "mask", {"fields": {"v": {"method": "generalise", **rule}}}, {"input": rows}, schema={"input": {"v": "date"}}
        )
        assert [str(row["v"]) for row in found.rows] == ["2024-01-01", "None"]
        return
    rows = [{"v": value} for value in values]
    found = run_step("mask", {"fields": {"v": {"method": "generalise", **rule}}}, {"input": rows}, schema={"input": {"v": kind}})
    assert [row["v"] for row in found.rows] == shown


@pytest.mark.parametrize(
    ("form", "text", "shown"),
    [
        ("ssn", " 078\u201105\u20111120 ", "XXX-XX-1120"),
        ("card", "4111\u00a01111\u00a01111\u00a01111", "XXXX-XXXX-XXXX-1111"),
        ("phone", "tel:+1-555-010-4477 ext. 23", "XXX-XXX-4477"),
        ("phone", "(555)\u202f010\u20134477", "XXX-XXX-4477"),
        ("ip", " 192.0.2.17:8080 ", "XXX.XXX.XXX.17"),
        ("ip", "10.0.0.1/24", "XXX.XXX.XXX.1"),
        ("ip", "[2001:db8::7]:443", "XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:7"),
        ("ip", "fe80::1%eth0", "XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:1"),
        ("ip", "999.1.1.1", "***"),
        ("ip", "dead:beef", "***"),
        ("iban", "IBAN: DE89 3704 0044 0532 0130 00 ", "DEXX XXXX XXXX XXXX XX30 00"),
        ("email", " a\u0308da@example.org ", "a\u0308d***@example.org"),
        ("email", "Ada <ada@example.org>", "***"),
        ("email", "ada@example.org, bob@example.org", "***"),
    ],
)
def test_unusual_spellings_are_known_or_hidden(session: KernelSession, form: str, text: str, shown: str) -> None:
    assert show(session, form, [text]) == [shown]


def test_a_card_and_a_phone_may_keep_their_own_layout() -> None:
    config = {"fields": {form: {"method": form, "layout": "own"} for form in ("card", "phone")}}
    found = run_step("mask", config, {"input": [{"card": "4111 1111 1111 1111", "phone": "+49 (30) 901820"}]})
    assert found.rows == [{"card": "XXXX XXXX XXXX 1111", "phone": "+XX (XX) XX1820"}]


def test_lists_of_texts_are_masked_text_by_text() -> None:
    rows = [{"mails": ["ada@example.org", None, "none"], "names": ["Ada Lovelace"]}, {"mails": None, "names": []}]
    found = run_step("mask", {"fields": {"mails": "email", "names": "name"}}, {"input": rows})
    assert found.rows == [{"mails": ["ad***@example.org", None, "***"], "names": ["A*** L***"]}, {"mails": None, "names": []}]
