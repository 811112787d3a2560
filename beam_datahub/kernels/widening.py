"""The type that several columns share when they become one: the narrowest that holds the values of all."""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import pyarrow as pa

from beam_datahub.kernels.types import TIMESTAMP, canonical

_SIGNED = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_UNSIGNED = (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
# Decimal digits that hold every integer of so many bits.
_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}


def is_number(data_type: pa.DataType) -> bool:
    """Whether values of the type are numbers."""
    return bool(pa.types.is_integer(data_type) or pa.types.is_floating(data_type) or pa.types.is_decimal(data_type))


def widest(types: Iterable[pa.DataType]) -> pa.DataType | None:
    """The narrowest type that holds the values of all `types`; None where they do not go together, as text and numbers.

    Whole numbers and decimals next to floating point become DOUBLE, a DATE next to a TIMESTAMP becomes a TIMESTAMP.
    """
    found = [canonical(data_type) for data_type in types]
    return reduce(_wider, found[1:], found[0])


def _wider(left: pa.DataType | None, right: pa.DataType) -> pa.DataType | None:
    if left is None or left == right:
        return left
    if is_number(left) and is_number(right):
        return _wider_number(left, right)
    if {left, right} == {pa.date32(), TIMESTAMP}:
        return TIMESTAMP
    if pa.types.is_list(left) and pa.types.is_list(right):
        item = _wider(left.value_type, right.value_type)
        return None if item is None else canonical(pa.list_(item))
    return None


def _wider_number(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    if pa.types.is_floating(left) or pa.types.is_floating(right):
        return pa.float32() if left == right == pa.float32() else pa.float64()
    if pa.types.is_integer(left) and pa.types.is_integer(right):
        return _wider_integer(left, right)
    scale = max(_scale(left), _scale(right))
    whole = max(_whole_digits(left), _whole_digits(right))
    return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else pa.float64()


def _wider_integer(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    if pa.types.is_signed_integer(left) == pa.types.is_signed_integer(right):
        return max(left, right, key=lambda data_type: int(data_type.bit_width))
    signed, unsigned = (left, right) if pa.types.is_signed_integer(left) else (right, left)
    bits = max(int(signed.bit_width), 2 * int(unsigned.bit_width))
    return pa.decimal128(20, 0) if bits > 64 else next(candidate for candidate in _SIGNED if candidate.bit_width >= bits)


def _scale(data_type: pa.DataType) -> int:
    return int(data_type.scale) if pa.types.is_decimal(data_type) else 0


def _whole_digits(data_type: pa.DataType) -> int:
    if pa.types.is_decimal(data_type):
        return int(data_type.precision - data_type.scale)
    return _DIGITS[int(data_type.bit_width)]
