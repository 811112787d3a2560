"""A person's value is followed to where it stands, and only to where nobody else's can look the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from beam_datahub.compiler.build import build
from beam_datahub.compiler.subject_trace import SubjectKey, Traces, trace
from beam_datahub.errors import InvalidValue
from beam_datahub.spec import loads

ROWS = [{"id": 1, "email": "ada@x.org", "firm": 1}]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEAM_DATAHUB_SECRET_KEY", "a-key-of-more-than-sixteen")


def traced(*steps: dict[str, Any], column: str = "email", value: str = "ada@x.org") -> Traces:
    written = {
        "name": "people",
        "sources": {"people": {"connector": "inline", "connection": {}, "rows": ROWS}},
        "transformations": steps,
        "destinations": [{"id": "out", "connector": "console"}],
    }
    return trace(build(loads(json.dumps(written), name="people.json")), [SubjectKey(column, value)])["out"]


def mapped(expression: str) -> dict[str, Any]:
    return {"id": "m", "type": "mapping", "config": {"fields": {"x": expression}}}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("email", "ada@x.org"),
        ("upper(trim(email))", "ADA@X.ORG"),
        ("'mailto:' || email", "mailto:ada@x.org"),
        ("${email}!", "ada@x.org!"),
        ("md5(email)", "d89692d632ee017f2a9a6f88181c778a"),
        ("cast(email as varchar)", "ada@x.org"),
    ],
)
def test_what_differs_where_values_differ_is_applied_to_the_value(expression: str, text: str) -> None:
    assert traced(mapped(expression)).pairs == (("x", text),)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("split_part(email, '@', 2)", "others may come to look the same there"),
        ("left(email, 1)", "others may come to look the same there"),
        ("coalesce(email, 'none')", "others may come to look the same there"),
        ("trim(email, 'a')", "others may come to look the same there"),
        ("${id} ${email}", "it is made of id as well"),
    ],
)
def test_what_others_may_share_tells_nobody(expression: str, reason: str) -> None:
    found = traced(mapped(expression))
    assert (found.pairs, found.unknown) == ((), {"x": reason})


def test_what_only_depends_on_the_value_holds_nothing_of_it() -> None:
    assert traced(mapped("length(email)")) == Traces((), {})


@pytest.mark.parametrize("rule", ["hash", "tokenise", {"method": "encrypt", "deterministic": True}])
def test_keyed_masks_are_applied_to_the_value(rule: Any) -> None:
    mask = {"id": "mask", "type": "mask", "config": {"fields": {"email": rule}, "key": "${secret.KEY}"}}
    found = traced(mask)
    assert [name for name, _ in found.pairs] == ["email"]
    assert found.pairs[0][1] != "ada@x.org"
    assert traced(mask).pairs == found.pairs


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("redact", "nothing of it is left there"),
        ("null", "nothing of it is left there"),
        ("email", "only a part of it is there, which others may share"),
        ("encrypt", "it is encrypted anew each time"),
        ({"method": "tokenise", "tenant": "firm"}, "it depends on firm as well"),
        ("fpe", "the value becomes nothing there"),
    ],
)
def test_other_masks_tell_nobody(rule: Any, reason: str) -> None:
    found = traced({"id": "mask", "type": "mask", "config": {"fields": {"email": rule}, "key": "${secret.KEY}"}})
    assert (found.pairs, found.unknown) == ((), {"email": reason})


@pytest.mark.parametrize(
    ("step", "names"),
    [
        ({"type": "sql", "config": {"query": "select email, count(*) as n from input group by email"}}, ["email"]),
        ({"type": "sql", "config": {"query": "select * from (select email as who, id from input) where id > 0"}}, ["who"]),
        ({"type": "aggregation", "config": {"by": ["email"], "measures": {"n": "count(email)"}}}, ["email"]),
        ({"type": "deduplication", "config": {"by": "email", "order_by": "id", "keep": "last"}}, ["email"]),
        ({"type": "top", "config": {"by": "firm", "order_by": ["id", "email"], "limit": 1}}, ["email"]),
        ({"type": "filtering", "config": {"where": "id > 0"}}, ["email"]),
        ({"type": "normalise", "config": {"fields": {"email": {"email": True, "case": "upper"}}}}, ["email"]),
    ],
)
def test_other_steps_hand_the_value_on(step: dict[str, Any], names: list[str]) -> None:
    found = traced({"id": "s", **step})
    assert [name for name, _ in found.pairs] == names, found.unknown


def test_an_aggregate_over_values_tells_nobody() -> None:
    step = {"id": "a", "type": "aggregation", "config": {"by": ["firm"], "measures": {"x": "max(email)"}}}
    assert traced(step).unknown == {"x": "sums up several records"}


def test_a_value_is_read_as_its_column_is() -> None:
    assert traced(column="id", value="01").pairs == (("id", "1"),)
    with pytest.raises(InvalidValue, match="the subject's id is BIGINT"):
        traced(column="id", value="ada")
