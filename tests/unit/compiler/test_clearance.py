"""Personal data is followed from the sources to the destinations, and stopped where a destination is not cleared for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from beam_datahub.compiler.build import build
from beam_datahub.compiler.clearance import PERSONAL
from beam_datahub.compiler.personal import Level
from beam_datahub.errors import ErrorGroup, ExposedPersonalData, UnknownColumn
from beam_datahub.spec import SpecDocument, loads

ROWS = [
    {
        "id": 1,
        "email": "ada@example.org",
        "card": "4111111111111111",
        "born": "1815-12-10",
        "firm": 1,
        "who": {"mail": "a@b.org", "n": 1},
    }
]
PII = {"email": "email", "card": "credit_card", "born": "date_of_birth", "who.mail": "email"}


def spec(
    steps: list[dict[str, Any]],
    *,
    pii: Any = PII,
    clearance: Any = None,
    dead: Any = "all",
    sealed: bool = False,
    **more: Any,
) -> SpecDocument:
    people = {"connector": "inline", "connection": {}, "rows": ROWS, **({"pii": pii} if pii is not None else {})}
    written = {
        "name": "people",
        "sources": {"people": people, **more},
        "transformations": steps,
        "destinations": [{"id": "out", "connector": "console", **({"clearance": clearance} if clearance is not None else {})}],
        "dead_letter": {"connector": "console", "clearance": dead, "sealed": sealed},
    }
    return loads(json.dumps(written), name="people.json")


def exposed(document: SpecDocument) -> dict[str, str]:
    """Column of the destination → what the error says of it."""
    try:
        build(document)
    except ExposedPersonalData as error:
        return {error.reason.rpartition(" → out.")[2]: error.reason}
    except ErrorGroup as group:
        return {error.reason.rpartition(" → out.")[2]: error.reason for error in group.errors if error.code == "DH130"}
    return {}


def mapped(**fields: str) -> dict[str, Any]:
    return {"id": "m", "type": "mapping", "config": {"fields": fields}}


@pytest.mark.parametrize(
    ("expression", "leaks"),
    [
        ("email", True),
        ("upper(trim(email))", True),
        ("split_part(email, '@', 1)", True),
        ("${id}: ${email}", True),
        ("md5(email)", True),
        ("case when id > 1 then email end", True),
        ("coalesce(null, email)", True),
        ("case when email is null then 'no' else 'yes' end", False),
        ("email like '%@example.org'", False),
        ("length(email)", False),
        ("nullif(id, length(email))", False),
        ("email is not null and id > 0", False),
        ("who", True),
        ("who.mail", True),
        ("who.n", False),
        ("$.who.mail", True),
        ("born", True),
        ("year(cast(born as date))", False),
        ("date_trunc('year', cast(born as date))", False),
        ("cast(born as date) + 1", True),
        ("id", False),
    ],
)
def test_an_expression_carries_personal_data_or_does_not(expression: str, leaks: bool) -> None:
    assert ("x" in exposed(spec([mapped(x=expression)]))) is leaks


@pytest.mark.parametrize(
    ("measure", "leaks"),
    [
        ("count(email)", False),
        ("count(distinct email)", False),
        ("max(email)", True),
        ("min(card)", True),
        ("string_agg(email, ',' order by id)", True),
        ("arg_max(id, email)", True),
        ("sum(id)", False),
        ("max(id) filter (where email is not null)", False),
        ("first(id order by email)", False),
        ("bool_or(email is null)", False),
    ],
)
def test_an_aggregate_carries_what_it_hands_on(measure: str, leaks: bool) -> None:
    step = {"id": "a", "type": "aggregation", "config": {"by": ["firm"], "measures": {"x": measure}}}
    assert set(exposed(spec([step]))) == ({"x"} if leaks else set())


def test_a_key_of_an_aggregation_stays_personal() -> None:
    step = {"id": "a", "type": "aggregation", "config": {"by": ["email"], "measures": {"n": "count(*)"}}}
    assert set(exposed(spec([step]))) == {"email"}


def test_the_error_shows_the_way_and_what_to_do() -> None:
    steps = [mapped(contact="lower(email)"), {"id": "f", "type": "filtering", "config": {"where": "contact is not null"}}]
    with pytest.raises(ExposedPersonalData) as raised:
        build(spec(steps))
    assert "'out' would get an e-mail address unmasked: people.email → m.contact → f.contact → out.contact" in str(raised.value)
    assert raised.value.place is not None
    assert raised.value.place.path == ("destinations", 0)
    assert "fields: {contact: email}" in str(raised.value.hint)
    assert "clearance: [email]" in str(raised.value.hint)


@pytest.mark.parametrize("clearance", ["all", ["email", "credit_card", "date_of_birth"]])
def test_a_cleared_destination_gets_what_it_is_cleared_for(clearance: Any) -> None:
    assert not exposed(spec([], clearance=clearance))


def test_clearance_for_one_kind_is_none_for_another() -> None:
    assert set(exposed(spec([], clearance=["email"]))) == {"card", "born"}


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_KEY", "a-key-of-more-than-sixteen")


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("rule", "level"),
    [
        ("redact", Level.HIDDEN),
        ("null", Level.HIDDEN),
        ("email", Level.LOWERED),
        ({"method": "partial", "last": 2}, Level.LOWERED),
        ({"method": "generalise", "first": 1}, Level.LOWERED),
        ("hash", Level.HIDDEN),
        ("tokenise", Level.HIDDEN),
        ("fpe", Level.HIDDEN),
        ("encrypt", Level.HIDDEN),
    ],
)
def test_each_mask_lowers_what_is_shown(rule: Any, level: Level) -> None:
    mask = {"id": "mask", "type": "mask", "config": {"fields": {"email": rule}, "key": "${secret.KEY}"}}
    plan = build(spec([mapped(email="email"), mask]))
    assert [tag.level for tag in plan.metadata[PERSONAL]["out"]["email"]] == [level]


@pytest.mark.usefixtures("key")
def test_what_is_decrypted_is_personal_again() -> None:
    def mask(name: str, method: str) -> dict[str, Any]:
        return {"id": name, "type": "mask", "config": {"fields": {"email": method}, "key": "${secret.KEY}"}}

    assert not exposed(spec([mapped(email="email"), mask("a", "encrypt")]))
    assert set(exposed(spec([mapped(email="email"), mask("a", "encrypt"), mask("b", "decrypt")]))) == {"email"}


def test_a_join_and_a_filter_tag_no_other_column() -> None:
    firms = {"connector": "inline", "connection": {}, "rows": [{"firm": 1, "title": "Analytical"}]}
    join = {"id": "j", "type": "enrichment", "input": "m", "config": {"with": "firms", "on": {"firm": "firm"}, "add": ["title"]}}
    steps = [
        {**mapped(email="email", firm="firm"), "input": "people"},
        join,
        {"id": "f", "type": "filtering", "config": {"where": "email is not null"}},
    ]
    assert set(exposed(spec(steps, firms=firms))) == {"email"}


@pytest.mark.parametrize(
    ("query", "leaks"),
    [
        ("select firm, count(email) as n from input group by firm", set()),
        ("select firm, max(email) as e from input group by firm", {"e"}),
        ("select id, row_number() over (order by email) as r from input", set()),
    ],
)
def test_a_query_is_followed_as_well(query: str, leaks: set[str]) -> None:
    assert set(exposed(spec([{"id": "q", "type": "sql", "config": {"query": query}}]))) == leaks


def test_nothing_is_checked_where_no_source_says_a_word() -> None:
    assert not exposed(spec([], pii=None, dead=[]))


def test_auto_finds_columns_by_names_and_values() -> None:
    found = exposed(spec([], pii="auto"))
    assert {"email", "card", "born"} <= set(found)
    assert not {"id", "firm"} & set(found)
    assert set(exposed(spec([mapped(card="card", email="email")], pii={"*": "auto", "card": "none"}))) == {"email"}


def test_rejected_records_are_personal_data_as_well() -> None:
    with pytest.raises(ExposedPersonalData, match="the dead letter would get rejected records of 'people'") as raised:
        build(spec([mapped(id="id")], dead=["email"]))
    assert "date_of_birth, credit_card" in str(raised.value)
    assert "dead_letter: {…, sealed: true}" in str(raised.value.hint)
    assert "clearance: [" in str(raised.value.hint)


def test_a_sealed_dead_letter_needs_no_clearance() -> None:
    assert build(spec([mapped(id="id")], dead=[], sealed=True)).metadata[PERSONAL]


def test_a_declared_column_must_be_there() -> None:
    with pytest.raises(UnknownColumn) as raised:
        build(spec([], pii={"emial": "email"}))
    assert raised.value.place is not None
    assert raised.value.place.path == ("sources", "people", "pii", "emial")
    assert raised.value.hint == "did you mean 'email'?"


def test_no_error_shows_a_value() -> None:
    with pytest.raises(ErrorGroup) as raised:
        build(spec([], pii="auto"))
    assert "ada@" not in str(raised.value)
    assert "4111" not in str(raised.value)
