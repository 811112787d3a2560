"""Values of MySQL's binary log in Arrow's types; what no calendar has stays text, for the source's contract to judge."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.errors import UnreadableData
from beam_datahub.io.mysql_cdc import row_images as rows
from beam_datahub.io.mysql_cdc.row_images import DIGIT_BYTES, LoggedColumn, RowImages
from beam_datahub.kernels.packed import Bytes, Integers, Mask, mapped, numbers, slices
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ

_UTF8 = ("utf8mb4", "utf8mb3", "utf8", "utf-8", "ascii")
_WHOLE = {rows.TINY: 8, rows.SHORT: 16, rows.INT24: 32, rows.LONG: 32, rows.LONGLONG: 64}
_DAY = 86_400_000_000


def valued(images: RowImages, index: int, column: LoggedColumn) -> pa.Array:
    """One column of some rows. Raises UnreadableData."""
    starts, ends, there = images.starts[index], images.ends[index], images.there[index]
    kind, data = column.type, images.data
    if column.has_length:
        return _long(images, starts, ends, there, column)
    if kind in _WHOLE:
        found = numbers(data, starts, column.size, "<", signed=not column.is_unsigned)
        array = pa.array(found)
        if column.is_unsigned and kind == rows.LONGLONG:
            array = array.view(pa.uint64())
        bits = _WHOLE[kind]
        return _but(array.cast(getattr(pa, f"{'u' if column.is_unsigned else ''}int{bits}")()), there)
    if kind in (rows.FLOAT, rows.DOUBLE):
        raw = numbers(data, starts, column.size, "<")
        floats = raw.view(np.float64) if kind == rows.DOUBLE else raw.astype(np.int32).view(np.float32)
        return _but(pa.array(floats), there)
    if kind == rows.YEAR:
        found = numbers(data, starts, 1, "<", signed=False)
        return _but(pa.array(np.where(found == 0, 0, found + 1900).astype(np.int16)), there)
    if kind == rows.BIT:
        return _but(pa.array(numbers(data, starts, column.size, signed=False)).view(pa.uint64()), there)
    if kind == rows.ENUM:
        places = numbers(data, starts, column.size, "<", signed=False)
        return pa.array(column.words, pa.string()).take(pa.array(np.where(there, places, 0), mask=~there))
    if kind == rows.SET:
        masks = _but(pa.array(numbers(data, starts, column.size, "<", signed=False)), there)
        return mapped(masks, lambda mask: ",".join(w for n, w in enumerate(column.words) if mask >> n & 1), pa.string())
    if kind == rows.NEWDECIMAL:
        return _decimals(data, starts, there, column)
    return _moments(data, starts, there, column)


def _but(array: pa.Array, there: Mask) -> pa.Array:
    """An array with nulls where nothing is there."""
    return array if there.all() else pc.if_else(pa.array(there), array, pa.scalar(None, array.type))


def _long(images: RowImages, starts: Integers, ends: Integers, there: Mask, column: LoggedColumn) -> pa.Array:
    if column.type == rows.GEOMETRY:
        # A shape begins with the number of its reference system.
        starts = np.where(there, starts + 4, starts)
    found = slices(images.buffer, starts, ends, there)
    if column.type == rows.JSON_TYPE:
        return pa.ExtensionArray.from_storage(JSON, pa.array([_json(value) for value in found.to_pylist()], pa.string()))
    charset = column.charset
    if column.type == rows.GEOMETRY or charset in ("binary", None):
        return found
    if charset in _UTF8:
        return found.cast(pa.string())
    # The client names it as Python does.
    return mapped(found, lambda value: value.decode(charset), pa.string())


def _json(value: bytes | None) -> str | None:
    from pymysqlreplication.json_binary import parse_json

    return json.dumps(_plain(parse_json(value[0], value[1:])), ensure_ascii=False) if value else None


def _plain(value: Any) -> Any:
    """A value of the client's, whose texts are bytes."""
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, (int, float, bool, str, type(None))) else str(value)


def _decimals(data: Bytes, starts: Integers, there: Mask, column: LoggedColumn) -> pa.Array:
    """Groups of nine digits in four bytes each, the shorter ones at both ends; the first bit is the sign."""
    precision, scale = column.digits
    safe = np.minimum(starts, max(len(data) - column.size, 0))
    negative = data[safe] & 0x80 == 0
    at = safe.copy()
    parts: list[pa.Array] = [pa.array(np.where(negative, "-", ""), pa.string())]
    whole = precision - scale
    groups = [(whole % 9, False), *[(9, False)] * (whole // 9), *[(9, True)] * (scale // 9), (scale % 9, True)]
    is_first = True
    pointed = False
    for digits, is_fraction in groups:
        size = DIGIT_BYTES[digits]
        if not size:
            continue
        group = numbers(data, at, size, signed=False)
        if is_first:
            group ^= 1 << (8 * size - 1)
        # What is below zero has all bits turned.
        group = np.where(negative, group ^ ((1 << 8 * size) - 1), group) & ((1 << 8 * size) - 1)
        if is_first:
            group &= (1 << (8 * size - 1)) - 1
        is_first = False
        if is_fraction and not pointed:
            parts.append(pa.scalar("." if whole else "0.", pa.string()))
            pointed = True
        parts.append(pc.utf8_lpad(pa.array(group).cast(pa.string()), digits, "0"))
        at = at + size
    texts = _but(pc.binary_join_element_wise(*parts, ""), there)
    return (
        texts.cast(pa.decimal128(precision, scale))
        if precision <= 38
        else pc.replace_substring_regex(texts, r"^(-?)0+(\d)", r"\1\2")
    )


def _moments(data: Bytes, starts: Integers, there: Mask, column: LoggedColumn) -> pa.Array:
    kind, digits = column.type, column.fraction_digits
    behind = (digits + 1) // 2
    if kind == rows.DATE:
        found = numbers(data, starts, 3, "<", signed=False)
        days, real = _days(found >> 9, found >> 5 & 15, found & 31)
        if real[there].all():
            return _but(pa.array(days.astype(np.int32)).view(pa.date32()), there)
        texts = [f"{n >> 9:04d}-{n >> 5 & 15:02d}-{n & 31:02d}" for n in found.tolist()]
        return pa.array(texts, pa.string(), mask=~there)
    micros = numbers(data, starts + column.size - behind, behind, signed=False) * 10 ** (6 - 2 * behind) if behind else 0
    if kind == rows.TIMESTAMP2:
        seconds = numbers(data, starts, 4, signed=False)
        if (seconds[there] != 0).all():
            return _but(pa.array(seconds * 1_000_000 + micros).view(TIMESTAMPTZ), there)
        moments = pa.array(seconds * 1_000_000 + micros).view(pa.timestamp("us")).cast(pa.string())
        texts = pc.binary_join_element_wise(moments, "+00", "")
        return _but(pc.if_else(pa.array(seconds == 0), "0000-00-00 00:00:00", texts), there)
    if kind == rows.DATETIME2:
        packed = numbers(data, starts, 5, signed=False) - 0x8000000000
        month, clock = packed >> 22, packed & 0x1FFFF
        days, real = _days(month // 13, month % 13, packed >> 17 & 31)
        within = ((clock >> 12) * 3600 + (clock >> 6 & 63) * 60 + (clock & 63)) * 1_000_000 + micros
        if real[there].all():
            return _but(pa.array(days * _DAY + within).view(TIMESTAMP), there)
        texts = [
            f"{m // 13:04d}-{m % 13:02d}-{d:02d} {c >> 12:02d}:{c >> 6 & 63:02d}:{c & 63:02d}"
            for m, d, c in zip(month.tolist(), (packed >> 17 & 31).tolist(), clock.tolist(), strict=True)
        ]
        return pa.array(texts, pa.string(), mask=~there)
    if kind == rows.TIME2:
        size = 3 + behind
        packed = numbers(data, starts, size, signed=False) - (0x800000 << 8 * behind)
        size_less = np.abs(packed)
        clock, fraction = size_less >> 8 * behind, (size_less & ((1 << 8 * behind) - 1)) * 10 ** (6 - 2 * behind if behind else 0)
        within = ((clock >> 12 & 0x3FF) * 3600 + (clock >> 6 & 63) * 60 + (clock & 63)) * 1_000_000 + fraction
        if ((packed >= 0) & (within < _DAY))[there].all():
            return _but(pa.array(within).view(pa.time64("us")), there)
        texts = [_time(sign < 0, time, digits) for sign, time in zip(packed.tolist(), within.tolist(), strict=True)]
        return pa.array(texts, pa.string(), mask=~there)
    raise UnreadableData(f"the column '{column.name}' has a type that is not known ({kind})")


def _time(is_negative: bool, micros: int, digits: int) -> str:
    """A time as a table gives it: it may last for weeks, and be negative."""
    seconds, fraction = divmod(micros, 1_000_000)
    text = f"{'-' if is_negative else ''}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{fraction:06d}"[: len(text) + 1 + digits] if digits else text


def _days(years: Integers, months: Integers, days: Integers) -> tuple[Integers, Mask]:
    """Days since 1970, and which of them a calendar has."""
    real = (months >= 1) & (months <= 12) & (days >= 1) & (years >= 1)
    firsts = ((years - 1970) * 12 + np.where(real, months, 1) - 1).astype("M8[M]")
    lengths = ((firsts + 1).astype("M8[D]") - firsts.astype("M8[D]")).astype(np.int64)
    return firsts.astype("M8[D]").astype(np.int64) + days - 1, real & (days <= lengths)
