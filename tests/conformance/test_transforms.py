"""Every transformation of the registry keeps what the design promises of all of them."""

from __future__ import annotations

import pytest

from beam_datahub.component.config import Example
from beam_datahub.component.registry import component, names
from beam_datahub.testing import conformance

EXAMPLES = [
    pytest.param(name, example, id=f"{name}-{example.title}")
    for name in names("transform")
    for example in component("transform", name).examples
]


@pytest.mark.parametrize("name", names("transform"))
def test_a_transformation_has_an_example_and_documented_options(name: str) -> None:
    kind = component("transform", name)
    assert kind.examples
    assert kind.__doc__
    conformance.check_documented(kind.Config)
    conformance.check_unknown_option(kind.Config)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_does_what_it_says(name: str, example: Example) -> None:
    conformance.check_example(name, example)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_the_cut_of_the_input_changes_nothing(name: str, example: Example) -> None:
    conformance.check_slicing(name, example)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_empty_input_gives_the_promised_schema(name: str, example: Example) -> None:
    conformance.check_empty(name, example)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_a_configured_transformation_pickles(name: str, example: Example) -> None:
    conformance.check_pickles(name, example)
