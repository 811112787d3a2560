"""What holds for the options of every component."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from beam_datahub.component.registry import Kind, component, names

COMPONENTS = [(kind, name) for kind in get_args(Kind) for name in names(kind)]


def options(kind: Kind, name: str) -> list[type[BaseModel]]:
    found = component(kind, name)
    return [getattr(found, each) for each in ("Connection", "Options", "Config") if hasattr(found, each)]


def refusals(model: type[BaseModel], option: str, value: object) -> list[str]:
    """Why a model refuses this value of an option because of its form."""
    try:
        model.model_validate({option: value})
    except ValidationError as failure:
        return [each["type"] for each in failure.errors() if each["loc"][:1] == (option,) and each["type"].endswith("_type")]
    return []


def forms(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return list(schema.get("anyOf", [schema]))


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=[" ".join(each) for each in COMPONENTS])
def test_one_name_stands_for_a_list_of_names_in_the_spec_and_in_its_json_schema(kind: Kind, name: str) -> None:
    for model in options(kind, name):
        properties = model.model_json_schema().get("properties", {})
        for option, field in model.model_fields.items():
            taken = forms(properties[field.alias or option])
            if any({"enum", "const"} & form.keys() for form in taken):
                continue  # a word such as `all` has a meaning of its own
            if any(form.get("type") == "array" and form.get("items") == {"type": "string"} for form in taken):
                assert any(form.get("type") == "string" for form in taken), f"{option} takes lists of names only"
                assert not refusals(model, field.alias or option, "one"), f"{option} takes no name alone"
