"""Which expressions can fail on some row: a sound guess that errs to the safe side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from beam_datahub.kernels.expressions.allowed import words
from beam_datahub.kernels.expressions.syntax import Node, children, walk
from beam_datahub.kernels.types import JSON


@dataclass(frozen=True)
class Facts:
    """What is known of the parts of a tree.

    `type_of`: the type of a node, where it can be told. `holds`: whether a node without columns evaluates at all.
    `becomes`: whether a text converts to a type.
    """

    type_of: Callable[[Node], pa.DataType | None]
    holds: Callable[[Node], bool]
    becomes: Callable[[str, pa.DataType], bool]


# Functions that fail on no value of their own text argument types.
_TOTAL_ON_TEXT = words(
    "upper lower ucase lcase trim ltrim rtrim length len strlen char_length character_length octet_length bit_length concat "
    "concat_ws || contains starts_with ends_with prefix suffix ^@ ~~ !~~ ~~* !~~* instr strpos position reverse replace "
    "strip_accents md5 sha1 sha256 translate nfc_normalize left right substring substr ascii unicode ord split split_part "
    "str_split string_split string_to_array"
)
_TOTAL_ON_NUMBERS = words("isnan isinf isfinite sign greatest least floor ceil ceiling")
_TOTAL_ON_FLOATS = words("+ - * abs round trunc")
_TOTAL_ON_TIMES = words(
    "year month day hour minute second quarter week weekday weekofyear dayofmonth dayofweek dayofyear isodow isoyear dayname "
    "monthname date_part datepart"
)
_TOTAL_BY_PATTERN = words("regexp_matches regexp_full_match regexp_replace")
_TOTAL_OPERATORS = words("OPERATOR_NOT OPERATOR_IS_NULL OPERATOR_IS_NOT_NULL OPERATOR_COALESCE COMPARE_IN COMPARE_NOT_IN")


def can_fail(node: Node, facts: Facts) -> bool:
    """Whether evaluating `node` may raise on some row."""
    kind = node["class"]
    if kind in ("COLUMN_REF", "CONSTANT"):
        return False
    if kind == "OPERATOR" and node["type"] == "OPERATOR_TRY":
        return False
    if not any(part["class"] in ("COLUMN_REF", "LAMBDA") for part in walk(node)):
        return not facts.holds(node)
    if kind == "LAMBDA" or any(can_fail(child, facts) for child in children(node)):
        return True
    return not _is_total(node, facts)


def _is_total(node: Node, facts: Facts) -> bool:
    """Whether `node` fails on no values that its parts, which do not fail, can have."""
    kind = node["class"]
    operands = list(children(node))
    types = [facts.type_of(operand) for operand in operands]
    if kind == "CONJUNCTION":
        return all(found == pa.bool_() for found in types)
    if kind in ("COMPARISON", "BETWEEN") or (kind == "OPERATOR" and node["type"] in ("COMPARE_IN", "COMPARE_NOT_IN")):
        return _compare(operands, types, facts)
    if kind == "OPERATOR" and node["type"] == "OPERATOR_COALESCE":
        return _compare(operands, types, facts)
    if kind == "OPERATOR" and node["type"] == "OPERATOR_NOT":
        return types == [pa.bool_()]
    if kind == "CASE":
        return _case_is_total(node, facts)
    if kind == "CAST":
        return bool(node.get("try_cast")) or _widens(types[0], facts.type_of(node))
    if kind == "FUNCTION":
        return _function_is_total(str(node["function_name"]).casefold(), operands, types, facts)
    return kind == "OPERATOR" and node["type"] in _TOTAL_OPERATORS


def _compare(operands: list[Node], types: list[pa.DataType | None], facts: Facts) -> bool:
    """Whether values of these types meet without a conversion that can fail; constants are converted beforehand."""
    known = [t for operand, t in zip(operands, types, strict=True) if not _is_null(operand)]
    if not known or known.count(known[0]) == len(known):
        return None not in known
    if all(t is not None and _is_number(t) for t in known):
        return _common_number([t for t in known if t is not None])
    # A text that is written out takes the type of what it is compared with.
    varying = [t for operand, t in zip(operands, types, strict=True) if not _is_text_constant(operand) and not _is_null(operand)]
    if varying and all(t is not None and pa.types.is_integer(t) for t in varying):
        varying = [max((t for t in varying if t is not None), key=lambda t: t.bit_width)]
    if not varying or varying[0] is None or varying.count(varying[0]) != len(varying) or varying[0] == JSON:
        return False
    kind = varying[0]
    return all(facts.becomes(operand["literal"]["text"], kind) for operand in operands if _is_text_constant(operand))


def _case_is_total(node: Node, facts: Facts) -> bool:
    conditions = [check["when_expr"] for check in node["case_checks"]]
    values = [check["then_expr"] for check in node["case_checks"]] + [node["else_expr"]]
    if any(facts.type_of(condition) != pa.bool_() for condition in conditions):
        return False
    return _compare(values, [facts.type_of(value) for value in values], facts)


def _function_is_total(name: str, operands: list[Node], types: list[pa.DataType | None], facts: Facts) -> bool:
    if any(found is None for found in types):
        return False
    known = [found for found in types if found is not None]
    if name in _TOTAL_ON_TEXT:
        return all(
            found == pa.string() or (pa.types.is_integer(found) and _is_constant(operand))
            for operand, found in zip(operands, known, strict=True)
        ) or (name in ("concat", "concat_ws", "||") and all(_prints(t) for t in known))
    if (
        name in _TOTAL_ON_FLOATS
        and all(_is_number(found) for found in known)
        and any(pa.types.is_floating(found) for found in known)
    ):
        return True
    if name == "/" and all(_is_number(found) for found in known):
        return True
    if name in _TOTAL_ON_NUMBERS and all(pa.types.is_floating(found) for found in known):
        return True
    if name in _TOTAL_BY_PATTERN:
        # A pattern that is written out has been compiled by the time that types are known.
        return all(found == pa.string() for found in known) and all(_is_text_constant(operand) for operand in operands[1:])
    if name in ("date_trunc", "datetrunc"):
        return _is_text_constant(operands[0]) and pa.types.is_timestamp(known[1])
    if name in _TOTAL_ON_TIMES:
        return all(
            pa.types.is_date(found) or pa.types.is_timestamp(found) or (found == pa.string() and _is_text_constant(operand))
            for operand, found in zip(operands, known, strict=True)
        )
    if name in ("nullif", "greatest", "least", "list_value"):
        return _compare(operands, types, facts)
    if name == "if":
        return bool(types[0] == pa.bool_()) and _compare(operands[1:], types[1:], facts)
    if name == "struct_extract":
        return bool(pa.types.is_struct(known[0]))
    return name in ("struct_pack", "row", "typeof", "md5", "cardinality", "array_length", "len", "length")


def _prints(found: pa.DataType) -> bool:
    """Whether a value of the type turns into text on its own."""
    return bool(found == pa.string() or _is_number(found) or pa.types.is_boolean(found) or pa.types.is_temporal(found))


def _is_number(found: pa.DataType) -> bool:
    return bool(pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal(found))


def _whole_digits(found: pa.DataType) -> int:
    if pa.types.is_decimal(found):
        return int(found.precision - found.scale)
    return {8: 3, 16: 5, 32: 10, 64: 20}[found.bit_width]


def _common_number(types: list[pa.DataType]) -> bool:
    if any(pa.types.is_floating(found) for found in types) or all(pa.types.is_integer(found) for found in types):
        return True
    scale = max(found.scale if pa.types.is_decimal(found) else 0 for found in types)
    return scale + max(_whole_digits(found) for found in types) <= 38


def _widens(source: pa.DataType | None, target: pa.DataType | None) -> bool:
    """Whether every value of `source` converts to `target`."""
    if source is None or target is None:
        return False
    if source == target:
        return bool(source != JSON)
    if target == pa.string():
        return _prints(source)
    if pa.types.is_boolean(source):
        return bool(pa.types.is_integer(target) or pa.types.is_floating(target))
    if pa.types.is_timestamp(source) and pa.types.is_date(target):
        return True
    if pa.types.is_floating(target):
        return bool(pa.types.is_integer(source) or (pa.types.is_floating(source) and source.bit_width <= target.bit_width))
    if pa.types.is_integer(source) and pa.types.is_integer(target):
        signed, into = pa.types.is_signed_integer(source), pa.types.is_signed_integer(target)
        if signed == into:
            return bool(source.bit_width <= target.bit_width)
        return not signed and bool(source.bit_width < target.bit_width)
    if pa.types.is_decimal(target) and (pa.types.is_integer(source) or pa.types.is_decimal(source)):
        scale = source.scale if pa.types.is_decimal(source) else 0
        return bool(target.scale >= scale and target.precision - target.scale >= _whole_digits(source))
    return False


def _is_null(node: Node) -> bool:
    return bool(node["class"] == "CONSTANT" and node["literal"]["kind"] == "NULL_LITERAL")


def _is_constant(node: Node) -> bool:
    return bool(node["class"] == "CONSTANT")


def _is_text_constant(node: Node) -> bool:
    return bool(node["class"] == "CONSTANT" and node["literal"]["kind"] == "STRING")
