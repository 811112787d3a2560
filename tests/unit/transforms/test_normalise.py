from __future__ import annotations

import sys

import pytest

from beam_datahub.errors import DataHubError, MissingDependency
from beam_datahub.testing.steps import run_step
from beam_datahub.transforms.normalise import snake_case


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("customerID", "customer_id"),
        ("HTTPServer", "http_server"),
        ("Full  Name (m²)", "full_name_m²"),
        ("already_so", "already_so"),
        ("-- ", "-- "),
        ("Straße", "straße"),
        ("a1B2", "a1_b2"),
    ],
)
def test_names_take_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


def test_text_forms_apply_to_all_text_and_a_field_has_its_own() -> None:
    rows = [{"a": "\u00a0 x \t y\n", "b": "  Z ", "c": "e\u0301", "n": 1}, {"a": "  ", "b": None, "c": "", "n": None}]
    config = {
        "texts": {"trim": True, "collapse_spaces": True, "empty_as_null": True, "nfc": True},
        "fields": {"B": {"case": "lower"}},
        "names": "upper",
    }
    found = run_step("normalise", config, {"input": rows})
    assert found.rows == [{"A": "x y", "B": "  z ", "C": "\u00e9", "N": 1}, {"A": None, "B": None, "C": None, "N": None}]


def test_a_row_is_rejected_once_for_all_its_values_and_null_leaves_them_out() -> None:
    rows = [
        {"id": n, "p": p, "c": c}
        for n, (p, c) in enumerate([("030 901820", "Euro"), ("1", "Taler"), (None, "usd"), ("2", "EUR")])
    ]
    fields = {"p": {"phone": "de"}, "c": {"currency": "alpha_3"}}
    found = run_step("normalise", {"fields": fields}, {"input": rows}, slice_rows=2)
    assert sorted(((row["id"], row["p"], row["c"]) for row in found.rows), key=str) == [
        (0, "+4930901820", "EUR"),
        (2, None, "USD"),
    ]
    assert sorted(record["message"] for record in found.rejected) == [
        "'p': '1' is no phone number; 'c': 'Taler' is no currency",
        "'p': '2' is no phone number",
    ]
    assert {record["reason"] for record in found.rejected} == {"not_normalised"}
    lenient = {name: {**form, "on_error": "null"} for name, form in fields.items()}
    assert len(run_step("normalise", {"fields": lenient}, {"input": rows}).rows) == 4


def test_units_convert_exactly_in_numbers_and_in_text() -> None:
    rows = [{"t": 32, "d": "1.5", "w": "5 mi"}, {"t": 212, "d": "-40", "w": "1e3 m"}, {"t": None, "d": None, "w": "5 kg"}]
    fields = {
        "t": {"unit": {"from": "degF", "to": "degC"}},
        "d": {"unit": {"from": "km/h", "to": "m/s"}},
        "w": {"unit": {"from": "km", "to": "km"}, "on_error": "null"},
    }
    found = run_step("normalise", {"fields": fields}, {"input": rows})
    assert [row["t"] for row in found.rows] == [pytest.approx(0), pytest.approx(100), None]
    assert [row["w"] for row in found.rows] == [8.04672, 1.0, None]
    assert [row["d"] for row in found.rows][:2] == [pytest.approx(1.5 / 3.6), pytest.approx(-40 / 3.6)]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "nothing to normalise"),
        ({"fields": {"x": {"trim": True}}}, "unknown column 'x'"),
        ({"fields": {"n": {"trim": True}}}, "`trim` is for text"),
        ({"fields": {"t": {"phone": "Germany"}}}, "'Germany' is no country"),
        ({"fields": {"t": {"email": True, "phone": "DE"}}}, "one of `phone`, `email`"),
        ({"fields": {"n": {"unit": {"from": "kg", "to": "m"}}}}, "does not convert"),
        ({"fields": {"n": {"unit": {"from": "9**9**9", "to": "m"}}}}, "is no unit"),
        ({"names": "snake_case"}, "two columns called 'a_b'"),
    ],
)
def test_a_wrong_normalise_is_refused(config: dict[str, object], words: str) -> None:
    given = [{"t": "x", "n": 1, "a b": 1, "a_b": 2}]
    with pytest.raises(DataHubError, match=words.replace("*", r"\*")):
        run_step("normalise", config, {"input": given})


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(MissingDependency, match="phonenumbers") as raised:
        run_step("normalise", {"fields": {"t": {"phone": "DE"}}}, {"input": [{"t": "x"}]})
    assert "pip install" in str(raised.value.hint)
