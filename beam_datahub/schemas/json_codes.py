"""The kinds of difference between JSON Schemas: which do no harm, and what each means."""

from __future__ import annotations

import re

from beam_datahub.schemas.difference import Difference

_HARMLESS = frozenset(
    {
        "ID_CHANGED",
        "DESCRIPTION_CHANGED",
        "TITLE_CHANGED",
        "DEFAULT_CHANGED",
        "SCHEMA_REMOVED",
        "TYPE_EXTENDED",
        "MAX_LENGTH_INCREASED",
        "MAX_LENGTH_REMOVED",
        "MIN_LENGTH_DECREASED",
        "MIN_LENGTH_REMOVED",
        "PATTERN_REMOVED",
        "MAXIMUM_INCREASED",
        "MAXIMUM_REMOVED",
        "MINIMUM_DECREASED",
        "MINIMUM_REMOVED",
        "EXCLUSIVE_MAXIMUM_INCREASED",
        "EXCLUSIVE_MAXIMUM_REMOVED",
        "EXCLUSIVE_MINIMUM_DECREASED",
        "EXCLUSIVE_MINIMUM_REMOVED",
        "MULTIPLE_OF_REDUCED",
        "MULTIPLE_OF_REMOVED",
        "REQUIRED_ATTRIBUTE_WITH_DEFAULT_ADDED",
        "REQUIRED_ATTRIBUTE_REMOVED",
        "DEPENDENCY_ARRAY_NARROWED",
        "DEPENDENCY_ARRAY_REMOVED",
        "DEPENDENCY_SCHEMA_REMOVED",
        "MAX_PROPERTIES_INCREASED",
        "MAX_PROPERTIES_REMOVED",
        "MIN_PROPERTIES_DECREASED",
        "MIN_PROPERTIES_REMOVED",
        "ADDITIONAL_PROPERTIES_ADDED",
        "ADDITIONAL_PROPERTIES_EXTENDED",
        "UNEVALUATED_PROPERTIES_ADDED",
        "UNEVALUATED_PROPERTIES_EXTENDED",
        "PROPERTY_WITH_EMPTY_SCHEMA_ADDED_TO_OPEN_CONTENT_MODEL",
        "REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_UNOPEN_CONTENT_MODEL",
        "OPTIONAL_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL",
        "PROPERTY_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL",
        "PROPERTY_REMOVED_FROM_OPEN_CONTENT_MODEL",
        "PROPERTY_ADDED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
        "PROPERTY_REMOVED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
        "MAX_ITEMS_INCREASED",
        "MAX_ITEMS_REMOVED",
        "MIN_ITEMS_DECREASED",
        "MIN_ITEMS_REMOVED",
        "MAX_CONTAINS_INCREASED",
        "MAX_CONTAINS_REMOVED",
        "MIN_CONTAINS_DECREASED",
        "MIN_CONTAINS_REMOVED",
        "UNIQUE_ITEMS_REMOVED",
        "ADDITIONAL_ITEMS_ADDED",
        "ADDITIONAL_ITEMS_EXTENDED",
        "UNEVALUATED_ITEMS_ADDED",
        "UNEVALUATED_ITEMS_EXTENDED",
        "ITEM_WITH_EMPTY_SCHEMA_ADDED_TO_OPEN_CONTENT_MODEL",
        "ITEM_ADDED_TO_CLOSED_CONTENT_MODEL",
        "ITEM_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL",
        "ITEM_REMOVED_FROM_OPEN_CONTENT_MODEL",
        "ITEM_ADDED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
        "ITEM_REMOVED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
        "ENUM_ARRAY_EXTENDED",
        "COMBINED_TYPE_EXTENDED",
        "PRODUCT_TYPE_NARROWED",
        "SUM_TYPE_EXTENDED",
        "NOT_TYPE_NARROWED",
    }
)

_WORDS = {
    "TYPE_CHANGED": "{reader} has another type here than {writer}",
    "TYPE_NARROWED": "{reader} takes integers alone, {writer} any number",
    "SCHEMA_ADDED": "{reader} has a rule here, {writer} has none",
    "PATTERN_CHANGED": "{reader} has another pattern than {writer}",
    "MULTIPLE_OF_EXPANDED": "{reader} asks for multiples of more than {writer}",
    "MULTIPLE_OF_CHANGED": "the multiples that {reader} asks for are not those of {writer}",
    "REQUIRED_ATTRIBUTE_ADDED": "{reader} requires the property, {writer} does not",
    "ADDITIONAL_PROPERTIES_REMOVED": "{reader} allows no properties but its own, {writer} allows others",
    "ADDITIONAL_PROPERTIES_NARROWED": "{reader} sets a rule for other properties, {writer} sets none",
    "ADDITIONAL_ITEMS_REMOVED": "{reader} allows no further items, {writer} does",
    "ADDITIONAL_ITEMS_NARROWED": "{reader} sets a rule for further items, {writer} sets none",
    "UNEVALUATED_PROPERTIES_REMOVED": "{reader} allows no properties but its own, {writer} allows others",
    "UNEVALUATED_PROPERTIES_NARROWED": "{reader} sets a rule for other properties, {writer} sets none",
    "UNEVALUATED_ITEMS_REMOVED": "{reader} allows no further items, {writer} does",
    "UNEVALUATED_ITEMS_NARROWED": "{reader} sets a rule for further items, {writer} sets none",
    "DEPENDENCY_ARRAY_EXTENDED": "{reader} asks for more properties beside this one than {writer}",
    "DEPENDENCY_ARRAY_CHANGED": "{reader} asks for other properties beside this one than {writer}",
    "REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL": "{reader} requires a property under whose name {writer} allows any value",
    "REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_OPEN_CONTENT_MODEL": (
        "{reader} sets a rule for a property under whose name {writer} allows any value"
    ),
    "OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL": (
        "{reader} sets a rule for a property under whose name {writer} allows any value"
    ),
    "REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL": "{reader} requires a property that {writer} does not have",
    "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL": "{reader} does not allow the property of {writer}",
    "PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL": (
        "the rule of {reader} for other properties refuses values that {writer} allows in this one"
    ),
    "PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL": (
        "{reader} refuses values of the property that the rule of {writer} for other properties allows"
    ),
    "ITEM_ADDED_TO_OPEN_CONTENT_MODEL": "{reader} sets a rule for an item where {writer} allows any value",
    "ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL": "{reader} does not allow the item of {writer}",
    "ITEM_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL": (
        "the rule of {reader} for further items refuses values that {writer} allows in this one"
    ),
    "ITEM_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL": (
        "{reader} refuses values of the item that the rule of {writer} for further items allows"
    ),
    "ENUM_ARRAY_NARROWED": "{reader} lacks values that {writer} allows",
    "ENUM_ARRAY_CHANGED": "{reader} allows other values than {writer}",
    "COMBINED_TYPE_CHANGED": "{reader} combines its parts in another way than {writer}",
    "COMBINED_TYPE_SUBSCHEMAS_CHANGED": "a part of {writer} has no counterpart in {reader} that takes its values",
    "PRODUCT_TYPE_EXTENDED": "{reader} has more parts that all must hold than {writer}",
    "SUM_TYPE_NARROWED": "{reader} has fewer parts to choose from than {writer}",
    "NOT_TYPE_EXTENDED": "{reader} excludes more than {writer}",
}
_KEYWORD = re.compile(r"(.+)_(ADDED|INCREASED|DECREASED|REMOVED)")
_CHANGES = {
    "ADDED": "{{reader}} sets {name}, {{writer}} does not",
    "REMOVED": "{{reader}} does not set {name}, {{writer}} does",
    "INCREASED": "{{reader}} has a larger {name} than {{writer}}",
    "DECREASED": "{{reader}} has a smaller {name} than {{writer}}",
}


def difference(code: str, path: str = "#/") -> Difference:
    """A difference of a kind at a place."""
    return Difference(code, path, _words(code), code in _HARMLESS)


def _words(code: str) -> str:
    found = _WORDS.get(code)
    if found is not None:
        return found
    match = _KEYWORD.fullmatch(code)
    if match is not None:
        first, *rest = match[1].lower().split("_")
        return _CHANGES[match[2]].format(name=first + "".join(word.capitalize() for word in rest))
    return f"{code.lower().replace('_', ' ')} from {{writer}} to {{reader}}"
