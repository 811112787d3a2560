"""Values of documents as columns: each in its column's type, or marked as one that the type cannot hold.

Values of one Python type are converted together; types decide, never a guess at a single value. What is lossless is done (a
BIGINT that is stored as 5.0), what is not is a misfit (5.5, a text that is no number).
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Sequence
from typing import Any

import bson
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from bson import json_util
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from beam_datahub.component.arrow_blocks import fit_array
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ, canonical

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    uuid_representation=bson.binary.UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
# What cannot be read as text is shown with marks in its place.
LENIENT = CODEC.with_options(unicode_decode_error_handler="replace")
_TEXTS = json_util.RELAXED_JSON_OPTIONS.with_options(
    tz_aware=True,
    uuid_representation=bson.binary.UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
_NONE = type(None)
_BINARY = (bytes, bson.Binary)
_LARGE = decimal.Context(prec=80, traps=[decimal.InvalidOperation])

Mask = npt.NDArray[np.bool_]


def json_of(value: Any) -> str:
    """A value as extended JSON: what JSON has as it has it, what it has not as `{"$oid": …}` and the like."""
    return json_util.dumps(value, json_options=_TEXTS, ensure_ascii=False)


def value_of(text: str) -> Any:
    """What extended JSON means."""
    return json_util.loads(text, json_options=_TEXTS)


def native(value: Any) -> Any:
    """A filter or a pipeline from a spec, its extended JSON as BSON's values."""
    if isinstance(value, dict):
        return json_util.object_hook({name: native(each) for name, each in value.items()}, _TEXTS)
    if isinstance(value, list | tuple):
        return [native(each) for each in value]
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime.combine(value, dt.time(), dt.UTC)
    return value


def column_of(values: list[Any], wanted: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """Values in a canonical type, null where there is none, and a mask of those that it cannot hold (None: it holds all)."""
    array, bad = _column(values, wanted)
    return array, pa.array(bad) if bad is not None else None


def _column(values: list[Any], wanted: pa.DataType) -> tuple[pa.Array, Mask | None]:
    kinds = set(map(type, values)) - {_NONE}
    t = pa.types
    if not kinds:
        return _nulls(len(values), wanted), None
    if wanted == JSON:
        return _jsons(values), None
    if wanted == pa.string():
        return pa.array(list(map(_text, values)) if kinds != {str} else values, pa.string()), None
    if t.is_decimal(wanted):
        return _decimals(values, wanted)
    if t.is_struct(wanted):
        return _structs(values, wanted)
    if t.is_list(wanted):
        return _lists(values, wanted)
    if t.is_map(wanted):
        return _maps(values, wanted)
    if kinds <= _exactly(wanted):
        return _together(values, next(iter(kinds)), wanted)
    # Of several types: each is converted for itself and put back in its places.
    found: list[Any] = [pa.scalar(None, wanted)] * len(values)
    bad = np.zeros(len(values), dtype=bool)
    for kind in kinds:
        places = [i for i, value in enumerate(values) if type(value) is kind]
        array, wrong = _together([values[i] for i in places], kind, wanted)
        for place, value in zip(places, array, strict=True):
            found[place] = value
        if wrong is not None:
            bad[np.array(places)[wrong]] = True
    return pa.array([value.as_py() if _plain(wanted) else value for value in found], wanted), bad if bad.any() else None


def _plain(wanted: pa.DataType) -> bool:
    return bool(pa.types.is_primitive(wanted) and not pa.types.is_temporal(wanted)) or wanted == pa.binary()


def _exactly(wanted: pa.DataType) -> set[type]:
    """The types of which a column may have several beside each other and still be converted at once."""
    t = pa.types
    if t.is_integer(wanted):
        return {int, bson.Int64}
    if wanted == pa.binary():
        return set(_BINARY)
    return set()


def _together(values: list[Any], kind: type, wanted: pa.DataType) -> tuple[pa.Array, Mask | None]:
    """Values of one type (or null) in another."""
    try:
        given = _given(values, kind)
        if given is None or not _may_become(given.type, wanted):
            return _nulls(len(values), wanted), _present(values)
        if wanted == pa.date32() and given.type == TIMESTAMPTZ:
            return _dates(given)
        array, bad = fit_array(given, wanted)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError):
        if len(values) == 1:
            return _nulls(1, wanted), _present(values)
        half = len(values) // 2
        parts = [_together(some, kind, wanted) for some in (values[:half], values[half:])]
        masks = [np.zeros(len(array), dtype=bool) if bad is None else bad for array, bad in parts]
        return pa.concat_arrays([array for array, _ in parts]), np.concatenate(masks)
    mask = None if bad is None else np.asarray(bad.to_numpy(zero_copy_only=False), dtype=bool)
    if kind in (int, bson.Int64) and pa.types.is_floating(wanted):
        back = array.cast(pa.int64(), safe=False)
        wrong = np.array([a is not None and a != b for a, b in zip(values, back.to_pylist(), strict=True)], dtype=bool)
        mask = wrong if mask is None else mask | wrong
    return array, mask if mask is not None and mask.any() else None


def _given(values: list[Any], kind: type) -> pa.Array | None:
    """Values as Arrow has them by nature; None where it has nothing like them."""
    if kind is bool:
        return pa.array(values, pa.bool_())
    if kind in (int, bson.Int64):
        return pa.array(values, pa.int64())
    if kind is float:
        return pa.array(values, pa.float64())
    if kind is str:
        return pa.array(values, pa.string())
    if kind is dt.datetime:
        return pa.array(values, TIMESTAMPTZ)
    if kind is DatetimeMS:
        millis = pa.array([None if value is None else int(value) for value in values], pa.int64())
        return millis.cast(pa.timestamp("ms", "UTC")).cast(TIMESTAMPTZ)
    if kind in _BINARY:
        return pa.array(values, pa.binary())
    if kind in (bson.ObjectId, uuid.UUID, Decimal128):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return None


def _may_become(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a value may be of another type at all: a truth is no number, and a moment is none."""
    t = pa.types
    if t.is_boolean(given) or t.is_boolean(wanted):
        return bool(given in (wanted, pa.string()))
    if t.is_timestamp(given):
        return bool(t.is_timestamp(wanted) or t.is_date(wanted))
    if t.is_temporal(wanted):
        return bool(given == pa.string())
    return bool(not t.is_binary(wanted) or t.is_binary(given))


def _dates(moments: pa.Array) -> tuple[pa.Array, Mask | None]:
    """Moments as days; one within a day is none."""
    micros = moments.cast(pa.int64()).to_pylist()
    day = 86_400_000_000
    bad = np.array([value is not None and value % day != 0 for value in micros], dtype=bool)
    days = [None if value is None or value % day else value // day for value in micros]
    return pa.array(days, pa.int32()).cast(pa.date32()), bad if bad.any() else None


def _present(values: Sequence[Any]) -> Mask:
    return np.array([value is not None for value in values], dtype=bool)


def _nulls(count: int, wanted: pa.DataType) -> pa.Array:
    if wanted == JSON:
        return pa.ExtensionArray.from_storage(JSON, pa.nulls(count, pa.string()))
    return pa.nulls(count, wanted)


def _text(value: Any) -> str | None:
    """Any value as text: what is no text of itself is as JSON has it, without its quotes."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bson.ObjectId | uuid.UUID | Decimal128):
        return str(value)
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    return json_of(value)


def _jsons(values: Sequence[Any]) -> pa.Array:
    texts = [None if value is None else json_of(value) for value in values]
    return pa.ExtensionArray.from_storage(JSON, pa.array(texts, pa.string()))


def _decimals(values: Sequence[Any], wanted: pa.DataType) -> tuple[pa.Array, Mask | None]:
    found: list[decimal.Decimal | None] = []
    bad = np.zeros(len(values), dtype=bool)
    step, limit = decimal.Decimal(1).scaleb(-wanted.scale), decimal.Decimal(10) ** (wanted.precision - wanted.scale)
    for i, value in enumerate(values):
        exact = _exact(value, step, limit)
        found.append(exact)
        bad[i] = value is not None and exact is None
    return pa.array(found, wanted), bad if bad.any() else None


def _exact(value: Any, step: decimal.Decimal, limit: decimal.Decimal) -> decimal.Decimal | None:
    """A number with the digits that a type has; None where it has more, or is none."""
    if isinstance(value, bool) or not isinstance(value, Decimal128 | int | float | str):
        return None
    try:
        number = value.to_decimal() if isinstance(value, Decimal128) else decimal.Decimal(str(value))
        if not number.is_finite():
            return None
        found = number.quantize(step, context=_LARGE)
    except decimal.InvalidOperation:
        return None
    return found if found == number and abs(found) < limit else None


def _structs(values: Sequence[Any], wanted: pa.DataType) -> tuple[pa.Array, Mask | None]:
    rows = [value if isinstance(value, dict) else None for value in map(_document, values)]
    bad = np.array([row is None and value is not None for row, value in zip(rows, values, strict=True)], dtype=bool)
    arrays = []
    for field in wanted:
        array, wrong = _column([None if row is None else row.get(field.name) for row in rows], field.type)
        arrays.append(array)
        if wrong is not None:
            bad |= wrong
    nulls = pa.array([row is None for row in rows])
    return pa.StructArray.from_arrays(arrays, fields=list(wanted), mask=nulls), bad if bad.any() else None


def _lists(values: Sequence[Any], wanted: pa.DataType) -> tuple[pa.Array, Mask | None]:
    bad = np.array([value is not None and not isinstance(value, list) for value in values], dtype=bool)
    rows = [value if isinstance(value, list) else None for value in values]
    sizes = np.array([0 if row is None else len(row) for row in rows], dtype=np.int64)
    array, wrong = _column([each for row in rows if row is not None for each in row], wanted.value_type)
    if wrong is not None:
        bad[np.repeat(np.arange(len(rows)), sizes)[wrong]] = True
    return _offset(rows, sizes, lambda offsets: pa.ListArray.from_arrays(offsets, array, wanted)), bad if bad.any() else None


def _maps(values: Sequence[Any], wanted: pa.DataType) -> tuple[pa.Array, Mask | None]:
    rows = [value if isinstance(value, dict) else None for value in map(_document, values)]
    bad = np.array([row is None and value is not None for row, value in zip(rows, values, strict=True)], dtype=bool)
    sizes = np.array([0 if row is None else len(row) for row in rows], dtype=np.int64)
    owners = np.repeat(np.arange(len(rows)), sizes)
    sides = []
    for kind, entries in (
        (wanted.key_type, [key for row in rows if row is not None for key in row]),
        (wanted.item_type, [each for row in rows if row is not None for each in row.values()]),
    ):
        array, wrong = _column(entries, kind)
        sides.append(array)
        if wrong is not None:
            bad[owners[wrong]] = True
    made = _offset(rows, sizes, lambda offsets: pa.MapArray.from_arrays(offsets, *sides, type=wanted))
    return made, bad if bad.any() else None


def _offset(rows: Sequence[Any], sizes: npt.NDArray[np.int64], make: Any) -> pa.Array:
    """An array of lists from where each begins; a null has a null there."""
    starts = [None if row is None else int(at) for row, at in zip(rows, np.cumsum(sizes) - sizes, strict=True)]
    return make(pa.array([*starts, int(sizes.sum())], pa.int32()))


def _document(value: Any) -> Any:
    """A reference to another document as the document that it is."""
    return value.as_doc().to_dict() if isinstance(value, bson.DBRef) else value


def type_of(values: Sequence[Any], *, inside: bool = False) -> pa.DataType:
    """The canonical type that holds all values of a sample; what is too mixed for one is JSON.

    Whole numbers are BIGINT whatever their size: clients choose it by the value. What is null in all of the sample is text, which
    takes any value; inside other values JSON.
    """
    kinds = {type(value) for value in values} - {_NONE}
    if not kinds:
        return JSON if inside else pa.string()
    if kinds <= {int, bson.Int64}:
        return pa.int64()
    if kinds <= {float, int, bson.Int64}:
        return pa.float64()
    if kinds <= {Decimal128, int, bson.Int64}:
        return _decimal_type(values)
    if kinds <= {dict, bson.DBRef}:
        return _struct_type([_document(value) for value in values if value is not None])
    if kinds == {list}:
        item = type_of([each for value in values if value is not None for each in value], inside=True)
        return pa.list_(pa.field("item", item))
    if kinds <= {str, bson.ObjectId, uuid.UUID}:
        return pa.string()
    if kinds <= {dt.datetime, DatetimeMS}:
        return TIMESTAMPTZ
    if kinds <= set(_BINARY):
        return pa.binary()
    return pa.bool_() if kinds == {bool} else JSON


def _decimal_type(values: Sequence[Any]) -> pa.DataType:
    numbers = [value.to_decimal() for value in values if isinstance(value, Decimal128)]
    exponents = [int(number.as_tuple().exponent) for number in numbers if number.is_finite()]
    return pa.decimal128(38, min(30, max([0, *(-exponent for exponent in exponents)])))


# More keys than that are data, not columns.
_MOST_FIELDS = 200


def _struct_type(values: Sequence[dict[str, Any]]) -> pa.DataType:
    names = list(dict.fromkeys(name for value in values for name in value))
    if not 0 < len(names) <= _MOST_FIELDS or len({name.casefold() for name in names}) < len(names):
        return JSON
    return pa.struct([pa.field(name, type_of([value.get(name) for value in values], inside=True)) for name in names])


def schema_of(documents: Sequence[dict[str, Any]]) -> pa.Schema:
    """The columns of a sample of documents, in the order in which they are met."""
    names = list(dict.fromkeys(name for document in documents for name in document))
    return pa.schema([(name, canonical(type_of([document.get(name) for document in documents]))) for name in names])


def is_moment(data_type: pa.DataType) -> bool:
    """Whether a column is of moments, which BSON has in milliseconds."""
    return data_type in (TIMESTAMP, TIMESTAMPTZ)
