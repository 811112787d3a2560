"""What to change in a new version of a schema that its subject refuses, in words for each kind of difference."""

from __future__ import annotations

from collections.abc import Mapping

from beam_datahub.schemas.difference import Direction


def fix_for(code: str, direction: Direction) -> str:
    """What to change in the new version so that a difference of this kind goes.

    Differences are told from the writer to the reader; forward, the new version is the writer.
    """
    backward, forward = _FIXES.get(code) or _by_ending(code)
    return backward if direction is Direction.BACKWARD else forward


def _by_ending(code: str) -> tuple[str, str]:
    for ending, fix in _ENDINGS.items():
        if code.endswith(ending):
            return fix
    return ("take this change back", "take this change back")


_KEEP = ("keep it as it was", "keep it as it was")
_OPEN = (
    "leave the property undeclared or give it the schema {}: the earlier version allowed any value under this name",
    "keep the property: the earlier version sets a rule for it, and the new one would allow any value",
)
_ENDINGS: Mapping[str, tuple[str, str]] = {
    "_INCREASED": ("do not raise it", "do not lower it"),
    "_DECREASED": ("do not lower it", "do not raise it"),
    "_ADDED": ("leave it out", "keep it"),
    "_REMOVED": ("keep it", "leave it out"),
    "_NARROWED": ("do not narrow it", "do not widen it"),
    "_EXTENDED": ("leave the additions out", "keep what was there"),
    "_CHANGED": _KEEP,
}
_FIXES: Mapping[str, tuple[str, str]] = {
    "SCHEMA_TYPE_CHANGED": ("register it under another subject", "register it under another subject"),
    # Avro
    "READER_FIELD_MISSING_DEFAULT_VALUE": (
        "give the new field a default",
        "keep the field: earlier versions have no default for it",
    ),
    "READER_FIELD_AMBIGUOUS": (
        "take the alias out, or drop the field of that name in a version before",
        "keep just one of the two fields",
    ),
    "TYPE_MISMATCH": (
        "keep the type, or take one that it is promoted to (int → long → float → double, string ↔ bytes)",
        "keep the type, or take one that is promoted to it (int → long → float → double, string ↔ bytes)",
    ),
    "MISSING_UNION_BRANCH": ("keep that type in the union", "leave the new type out of the union"),
    "MISSING_ENUM_SYMBOLS": ("keep the symbols, or give the enum a default", "leave the new symbols out"),
    "FIXED_SIZE_MISMATCH": ("keep the size, or add a field of another name", "keep the size, or add a field of another name"),
    "NAME_MISMATCH": ("keep the name, or put the old one among the `aliases`", "keep the name"),
    "DECIMAL_MISMATCH": ("keep precision and scale, or add a field of another name", "keep precision and scale"),
    "LOGICAL_TYPE_MISMATCH": ("keep the logical type, or add a field of another name", "keep the logical type"),
    # JSON Schema
    "TYPE_CHANGED": (
        "keep the type, or allow both: type [old, new]",
        "keep the type; earlier versions refuse values of another one",
    ),
    "TYPE_NARROWED": ("keep `number`", "keep `integer`"),
    "REQUIRED_ATTRIBUTE_ADDED": ("take it out of `required`, or give it a default", "keep it in `required`"),
    "REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL": (
        "take it out of `required`, or give it a default",
        "keep the property, and keep it in `required`",
    ),
    "REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL": _OPEN,
    "REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_OPEN_CONTENT_MODEL": _OPEN,
    "OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL": _OPEN,
    "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL": (
        "keep the property, or drop `additionalProperties: false`",
        "leave the property out: earlier versions allow none but their own",
    ),
    "PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL": (
        "keep the property, or let `additionalProperties` take its values",
        "give the property a schema that earlier versions' `additionalProperties` takes",
    ),
    "PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL": (
        "let the property take all that `additionalProperties` took",
        "keep the property",
    ),
    "ADDITIONAL_PROPERTIES_REMOVED": ("keep `additionalProperties` open", "keep `additionalProperties: false`"),
    "ENUM_ARRAY_NARROWED": ("keep the values", "leave the new values out"),
    "ENUM_ARRAY_CHANGED": ("keep the old values beside the new ones", "leave the new values out"),
    "SUM_TYPE_NARROWED": ("keep every part of the union", "leave the new parts out"),
    "PRODUCT_TYPE_EXTENDED": ("leave the new parts out", "keep every part"),
    "COMBINED_TYPE_SUBSCHEMAS_CHANGED": ("keep a part that takes what the old one took", "leave the parts as they were"),
    "NOT_TYPE_EXTENDED": ("do not exclude more", "do not exclude less"),
    # Protobuf
    "PACKAGE_CHANGED": ("keep the package", "keep the package"),
    "MESSAGE_REMOVED": ("keep the message", "leave the new message out, or put it into a file of its own"),
    "FIELD_KIND_CHANGED": ("give the field a new number, and reserve the old one",) * 2,
    "FIELD_SCALAR_KIND_CHANGED": ("give the field a new number, and reserve the old one",) * 2,
    "FIELD_NAMED_TYPE_CHANGED": ("give the field a new number, and reserve the old one",) * 2,
    "FIELD_NUMERIC_LABEL_CHANGED": ("keep the label, or give the field a new number",) * 2,
    "REQUIRED_FIELD_ADDED": ("make the field optional", "keep the field, or make it optional in a version before"),
    "REQUIRED_FIELD_REMOVED": ("keep the field, or make it optional in a version before", "make the field optional"),
    "ONEOF_FIELD_REMOVED": ("keep the field in the oneof", "put the new field beside the oneof"),
    "MULTIPLE_FIELDS_MOVED_TO_ONEOF": ("leave the fields outside of the oneof", "keep the fields in their oneof"),
    "FIELD_MOVED_TO_EXISTING_ONEOF": ("leave the field outside of the oneof", "keep the field in its oneof"),
}
