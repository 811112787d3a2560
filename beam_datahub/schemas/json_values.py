"""What one JSON Schema says of a value, beside what another says of it: bounds, values, required names, what is left open."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from beam_datahub.schemas.difference import Difference
from beam_datahub.schemas.json_codes import difference
from beam_datahub.schemas.json_model import ABSENT, Node


def strings(old: Node, new: Node) -> Iterator[Difference]:
    """The differences in length and pattern."""
    yield from bounds(old, new, "maxLength", "minLength")
    before, after = old.facts.get("pattern"), new.facts.get("pattern")
    if before != after:
        code = "ADDED" if before is None else "REMOVED" if after is None else "CHANGED"
        yield difference(f"PATTERN_{code}", "#/pattern")


def numbers(old: Node, new: Node) -> Iterator[Difference]:
    """The differences in bounds, multiples, and whether only integers are numbers."""
    yield from bounds(old, new, "maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum")
    before, after = (None if (value := node.facts.get("multipleOf")) is None else Fraction(str(value)) for node in (old, new))
    if before != after:
        yield difference(f"MULTIPLE_OF_{_multiple_change(before, after)}", "#/multipleOf")
    if old.facts["integer"] != new.facts["integer"]:
        yield difference("TYPE_EXTENDED" if old.facts["integer"] else "TYPE_NARROWED")


def constants(old: Node, new: Node) -> Iterator[Difference]:
    """The difference of two constants."""
    if not same(old.facts["value"], new.facts["value"]):
        yield difference("ENUM_ARRAY_CHANGED", "#/const")


def enums(old: Node, new: Node) -> Iterator[Difference]:
    """The difference of two lists of values, in whatever order."""
    before = {_written(value) for value in old.facts["values"]}
    after = {_written(value) for value in new.facts["values"]}
    if before != after:
        yield difference(f"ENUM_ARRAY_{set_change(before, after)}", "#/enum")


def bounds(old: Node, new: Node, *keywords: str) -> Iterator[Difference]:
    """The differences of limits, by the keywords that set them."""
    for keyword in keywords:
        before, after = old.facts.get(keyword), new.facts.get(keyword)
        if before == after:
            continue
        name = "".join(f"_{letter}" if letter.isupper() else letter for letter in keyword).upper()
        change = "ADDED" if before is None else "REMOVED" if after is None else "INCREASED" if before < after else "DECREASED"
        yield difference(f"{name}_{change}", f"#/{keyword}")


def required(old: Node, new: Node, name: str) -> Iterator[Difference]:
    """The difference in whether a property that both have must be there."""
    before, after = name in old.facts["required"], name in new.facts["required"]
    path = f"#/required/{name}"
    if before and not after:
        yield difference("REQUIRED_ATTRIBUTE_REMOVED", path)
    elif after and not before:
        filled = new.facts["properties"][name].default is not ABSENT
        yield difference("REQUIRED_ATTRIBUTE_WITH_DEFAULT_ADDED" if filled else "REQUIRED_ATTRIBUTE_ADDED", path)


def is_open(node: Node) -> bool:
    """Whether properties or items that are not named may have any value."""
    facts = node.facts
    if facts["closed"] or facts["rest"] is not None or facts.get("patterns"):
        return False
    return facts["unevaluated"] is None or facts["unevaluated"].anything


def covering(node: Node, name: str | None = None) -> Node | None:
    """The schema that a property or item which is not named must meet, or None."""
    facts = node.facts
    if name is not None:
        for pattern, found in facts["patterns"]:
            if pattern is not None and pattern.search(name):
                return found  # type: ignore[no-any-return]
    if facts["rest"] is not None:
        return facts["rest"]  # type: ignore[no-any-return]
    rest = facts["unevaluated"]
    if not facts["closed"] and rest is not None and rest.kind != "false" and not rest.anything:
        return rest  # type: ignore[no-any-return]
    return None


def set_change(before: set[str], after: set[str]) -> str:
    """How one of two sets that differ came from the other."""
    return "EXTENDED" if before <= after else "NARROWED" if after <= before else "CHANGED"


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are one; 1 and 1.0 are, 1 and true are not."""
    if one is ABSENT or other is ABSENT:
        return one is other
    return _written(one) == _written(other)


def _multiple_change(before: Fraction | None, after: Fraction | None) -> str:
    if before is None:
        return "ADDED"
    if after is None:
        return "REMOVED"
    if before and not after % before:
        return "EXPANDED"
    return "REDUCED" if after and not before % after else "CHANGED"


def _written(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
