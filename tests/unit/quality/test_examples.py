from __future__ import annotations

from typing import Any

import pytest

from beam_datahub.component.registry import component, names
from beam_datahub.component.rule import RuleExample
from beam_datahub.testing.conformance import check_documented, check_unknown_option
from beam_datahub.testing.rules import check_rule_example, check_rule_pickles


def every() -> list[Any]:
    return [
        pytest.param(name, example, id=f"{name}-{example.title}")
        for name in names("rule")
        for example in component("rule", name).examples  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize(("name", "example"), every())
def test_an_example_fails_what_it_promises(name: str, example: RuleExample) -> None:
    check_rule_example(name, example)


@pytest.mark.parametrize(("name", "example"), every())
def test_how_the_rows_are_cut_changes_nothing(name: str, example: RuleExample) -> None:
    check_rule_example(name, example, slice_rows=1)


@pytest.mark.parametrize(("name", "example"), every())
def test_a_rule_can_be_sent_to_a_worker(name: str, example: RuleExample) -> None:
    check_rule_pickles(name, example)


@pytest.mark.parametrize("name", names("rule"))
def test_every_option_is_documented_and_no_other_is_taken(name: str) -> None:
    config: Any = getattr(component("rule", name), "Config")  # noqa: B009
    check_documented(config)
    check_unknown_option(config)


@pytest.mark.parametrize("name", names("rule"))
def test_every_rule_has_examples(name: str) -> None:
    assert component("rule", name).examples  # type: ignore[attr-defined]
