from __future__ import annotations

import pytest

from beam_datahub.errors import DataHubError
from beam_datahub.testing.steps import run_step

ORDERS = [{"order": 1, "customer": 7}, {"order": 2, "customer": 8}, {"order": 3, "customer": None}, {"order": 4, "customer": 9}]
PEOPLE = [{"id": 7, "name": "Ada"}, {"id": 8, "name": "Bo"}, {"id": 8, "name": "Bob"}, {"id": None, "name": "Nil"}]


def test_missing_and_ambiguous_references_go_where_the_options_say() -> None:
    found = run_step(
        "enrichment",
        {"with": "people", "on": {"customer": "id"}, "missing": "drop"},
        {"input": ORDERS, "people": PEOPLE},
    )
    assert found.rows == [{"order": 1, "customer": 7, "name": "Ada"}]
    assert [record["reason"] for record in found.rejected] == ["ambiguous_reference"]
    assert found.books["step"]["filtered"] == 2


def test_several_matches_can_be_wanted() -> None:
    found = run_step(
        "enrichment",
        {"with": "people", "on": {"customer": "id"}, "duplicates": "expand", "missing": None, "add": {"who": "name"}},
        {"input": ORDERS, "people": PEOPLE},
    )
    came = sorted((row["order"], row["who"] or "") for row in found.rows)
    assert came == [(1, "Ada"), (2, "Bo"), (2, "Bob"), (3, ""), (4, "")]
    assert not found.rejected


@pytest.mark.parametrize(
    ("config", "people", "words"),
    [
        ({"on": {"customer": "idd"}}, PEOPLE, "unknown column 'idd'"),
        ({"on": "customer"}, PEOPLE, "unknown column 'customer'"),
        ({"on": {"customer": "id"}, "add": ["nam"]}, PEOPLE, "unknown column 'nam'"),
        ({"on": {"customer": "name"}, "add": ["id"]}, PEOPLE, "can never be equal"),
        ({"on": {"customer": "id"}}, [{"id": 1, "order": 5}], "two columns called 'order'"),
        ({"on": {"customer": "id"}}, [{"id": 1}], "nothing is added"),
        ({"on": []}, PEOPLE, "nothing to match"),
    ],
)
def test_a_wrong_enrichment_is_refused(config: dict[str, object], people: list[dict[str, object]], words: str) -> None:
    with pytest.raises(DataHubError, match=words):
        run_step("enrichment", {"with": "people", **config}, {"input": ORDERS, "people": people})
