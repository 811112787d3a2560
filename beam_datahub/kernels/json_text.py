"""JSON values as text, turned into typed columns by SQL; a value that does not fit is null and marked."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.json_rows import NOT_NUMBERS
from beam_datahub.kernels.session import conform
from beam_datahub.kernels.types import JSON, literal, sql_type
from beam_datahub.kernels.workbench import over

# More levels than this are taken for an attack.
DEEPEST = 1000
# What DuckDB's parser lets pass although it is not JSON; a line that matches is looked at by a strict parser.
LENIENT = r"(?i)\\u[dD][89a-fA-F]|,\s*[}\]]|[:\[,]\s*[-+]?(nan|inf)|^\s*[-+]?(nan|inf)"
# Numbers that may have more digits than a double.
_MANY_DIGITS = r"[0-9][0-9.]{15}"
_OFFSET = r"[T ][0-9:.]+ ?[+-][0-9]{2}(:?[0-9]{2})?$"


def pointer(name: str) -> str:
    """The JSON pointer of a top-level key, as an SQL literal."""
    return literal("/" + name.replace("~", "~0").replace("/", "~1"))


def is_nested(data_type: pa.DataType) -> bool:
    """Whether values are objects or arrays with types of their own."""
    return bool(pa.types.is_nested(data_type))


def holds_json(data_type: pa.DataType) -> bool:
    """Whether JSON or a map stands anywhere inside a nested type."""
    if data_type == JSON or pa.types.is_map(data_type):
        return True
    return any(holds_json(data_type.field(i).type) for i in range(data_type.num_fields))


def holds_time(data_type: pa.DataType) -> bool:
    """Whether a type is a time of day or holds one."""
    if pa.types.is_time(data_type):
        return True
    return any(holds_time(data_type.field(i).type) for i in range(data_type.num_fields))


def holds_decimal(data_type: pa.DataType) -> bool:
    """Whether a type is a decimal or holds one."""
    if pa.types.is_decimal(data_type):
        return True
    return any(holds_decimal(data_type.field(i).type) for i in range(data_type.num_fields))


def text_to(data_type: pa.DataType, raw: str) -> str:
    """SQL that turns the JSON text `raw` of a scalar into a type, or null; a string counts as what it reads."""
    text = f"(({raw}::JSON) ->> '$')"
    t = pa.types
    kind = sql_type(data_type)
    if data_type == pa.string():
        return text
    if t.is_integer(data_type):
        rounded = f"TRY_CAST({text} AS DOUBLE)"
        whole = (
            f"CASE WHEN {rounded} = round({rounded}) AND abs({rounded}) < 9007199254740992 THEN TRY_CAST({rounded} AS {kind}) END"
        )
        return f"CASE WHEN regexp_full_match({text}, '[-+]?[0-9]+') THEN TRY_CAST({text} AS {kind}) ELSE {whole} END"
    if t.is_floating(data_type):
        named = ", ".join(literal(f'"{word}"') for word in NOT_NUMBERS)
        return f"CASE WHEN isfinite(TRY_CAST({text} AS DOUBLE)) OR {raw} IN ({named}) THEN TRY_CAST({text} AS {kind}) END"
    if t.is_decimal(data_type):
        # A cast rounds; digits that the type does not have must be zeros.
        fine = f"regexp_matches({text}, '[eE]') OR NOT regexp_matches({text}, '[.][0-9]{{{data_type.scale}}}0*[1-9]')"
        return f"CASE WHEN {fine} THEN TRY_CAST({text} AS {kind}) END"
    if t.is_boolean(data_type):
        return f"CASE {text} WHEN 'true' THEN true WHEN 'false' THEN false END"
    if t.is_timestamp(data_type) and data_type.tz is None:
        zoned = f"timezone('UTC', TRY_CAST({text} AS TIMESTAMPTZ))"
        return f"CASE WHEN regexp_matches({text}, {literal(_OFFSET)}) THEN {zoned} ELSE TRY_CAST({text} AS TIMESTAMP) END"
    if data_type == pa.binary():
        return f"TRY(from_base64({text}))"
    return f"TRY_CAST({text} AS {kind})"


def extracted(lines: pa.Array, fields: Sequence[pa.Field]) -> tuple[list[pa.Array], list[pa.Array], pa.Table]:
    """Top-level keys of JSON objects as typed columns, the mask of misfits of each, and their JSON texts for messages."""
    if not fields:
        return [], [], pa.table({})
    names = [f"c{i}" for i in range(len(fields))]
    keys = ", ".join(pointer(field.name) for field in fields)
    parts = [f"nullif(x[{i + 1}]::VARCHAR, 'null') AS {names[i]}" for i in range(len(fields))]
    texts = over(pa.table({"l": lines}), f"SELECT {', '.join(parts)} FROM (SELECT json_extract(l, [{keys}]) AS x FROM t)")
    texts = _all_digits(texts, lines, fields)
    values = []
    for name, field in zip(names, fields, strict=True):
        if field.type == JSON:
            values.append(name)
        elif is_nested(field.type):
            values.append(f"json_transform({name}, {literal(json.dumps(structure(field.type)))})")
        else:
            values.append(text_to(field.type, name))
    typed = over(texts, f"SELECT {', '.join(f'{value} AS {name}' for value, name in zip(values, names, strict=True))} FROM t")
    arrays, masks = [], []
    for i, field in enumerate(fields):
        column = conform(typed.select([i]), pa.schema([(names[i], field.type)])).column(0)
        array = whole(column)
        mask = _misfits(array, whole(texts.column(i)), field.type)
        arrays.append(_nulled(array, mask) if field.type == JSON and pc.any(mask).as_py() else array)
        masks.append(mask)
    return arrays, masks, texts


def _all_digits(texts: pa.Table, lines: pa.Array, fields: Sequence[pa.Field]) -> pa.Table:
    """`texts` with the digits of decimals that the engine, which takes them for doubles, has cut."""
    decimals = [i for i, field in enumerate(fields) if pa.types.is_decimal(field.type)]
    cut = pc.indices_nonzero(pc.match_substring_regex(lines, _MANY_DIGITS)).to_pylist() if decimals else []
    if not cut:
        return texts
    records = {row: json.loads(lines[row].as_py(), parse_float=str) for row in cut}
    for i in decimals:
        column = texts.column(i).to_pylist()
        for row, record in records.items():
            value = record.get(fields[i].name) if isinstance(record, dict) else None
            column[row] = json.dumps(value) if isinstance(value, str) else column[row]
        texts = texts.set_column(i, texts.schema.field(i), pa.array(column, pa.string()))
    return texts


def _nulled(array: pa.Array, mask: pa.Array) -> pa.Array:
    return pa.ExtensionArray.from_storage(JSON, pc.if_else(mask, pa.scalar(None, pa.string()), array.storage))


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _misfits(array: pa.Array, text: pa.Array, data_type: pa.DataType) -> pa.Array:
    if data_type == JSON:
        suspect = pc.fill_null(pc.match_substring_regex(text, LENIENT), False)
        return _not_json(text, suspect)
    bad = pc.and_(pc.is_valid(text), pc.is_null(array))
    if not is_nested(data_type):
        return bad
    wanted = literal(json.dumps(structure(data_type)))
    strict = over(pa.table({"c": text}), f"SELECT c IS NOT NULL AND TRY(json_transform_strict(c, {wanted})) IS NULL AS s FROM t")
    suspect = whole(strict.column("s"))
    shapes = over(pa.table({"c": text.filter(suspect)}), "SELECT json_structure(c)::VARCHAR AS s FROM t").column("s")
    fits = {shape: _fits(json.loads(shape), data_type) for shape in pc.unique(shapes).to_pylist() if shape is not None}
    values = whole(_cast(text.filter(suspect), data_type)).to_pylist() if any(fits.values()) else [False] * len(shapes)
    verdicts = iter(not (value and fits.get(shape, False)) for shape, value in zip(shapes.to_pylist(), values, strict=True))
    return pa.array([hit and next(verdicts) for hit in suspect.to_pylist()], pa.bool_())


def _cast(text: pa.Array, data_type: pa.DataType) -> pa.ChunkedArray:
    """Whether all values inside nested ones are of the type: where one is not, `json_transform` makes a null of it."""
    texts = literal(json.dumps(structure(data_type, texts=True)))
    typed = f"TRY(CAST(json_transform(c, {texts}) AS {sql_type(data_type)})) IS NOT NULL"
    return over(pa.table({"c": text}), f"SELECT c IS NULL OR {typed} AS v FROM t").column("v")


def _not_json(text: pa.Array, suspect: pa.Array) -> pa.Array:
    if not pc.any(suspect).as_py():
        return suspect
    verdicts = iter(not is_json(value) for value in text.filter(suspect).to_pylist())
    return pa.array([hit and next(verdicts) for hit in suspect.to_pylist()], pa.bool_())


def structure(data_type: pa.DataType, *, texts: bool = False) -> object:
    """The type as DuckDB's `json_transform` wants it; with `texts`, single values are taken as they are written."""
    if pa.types.is_struct(data_type):
        return {field.name: structure(field.type, texts=texts) for field in data_type}
    if pa.types.is_list(data_type):
        return [structure(data_type.value_type, texts=texts)]
    return "VARCHAR" if texts and data_type != JSON and not pa.types.is_map(data_type) else sql_type(data_type)


# The last one is what signed integers next to unsigned ones are taken for, large or not.
_INTEGERS = ("UBIGINT", "BIGINT", "HUGEINT")


def _fits(shape: object, data_type: pa.DataType) -> bool:
    """Whether values of a shape found by DuckDB's `json_structure` fit a type."""
    if data_type == JSON or shape == "NULL":
        return True
    if pa.types.is_struct(data_type):
        if shape == "JSON":
            return True
        wanted = {field.name: field.type for field in data_type}
        return isinstance(shape, dict) and all(name not in wanted or _fits(part, wanted[name]) for name, part in shape.items())
    if pa.types.is_map(data_type):
        return shape == "JSON" or (isinstance(shape, dict) and all(_fits(part, data_type.item_type) for part in shape.values()))
    if pa.types.is_list(data_type):
        return isinstance(shape, list) and _fits(shape[0], data_type.value_type)
    if pa.types.is_integer(data_type):
        return shape in _INTEGERS
    if pa.types.is_floating(data_type) or pa.types.is_decimal(data_type):
        return shape in (*_INTEGERS, "DOUBLE")
    if pa.types.is_boolean(data_type):
        return shape == "BOOLEAN"
    return shape == "VARCHAR"


def is_json(text: str) -> bool:
    """Whether a text is JSON by the standard, and not deeper than records may be."""
    return fault(text) is None


def fault(text: str, *, constants: bool = False) -> str | None:
    """Why a text is not acceptable JSON, or None; `constants` lets NaN and Infinity pass."""
    if too_deep(text):
        return f"nested deeper than {DEEPEST} levels"
    try:
        json.loads(text, parse_constant=None if constants else _refuse_constant)
    except ValueError as error:
        return str(error)
    except RecursionError:
        return f"nested deeper than {DEEPEST} levels"
    return "a lone surrogate in text" if _SURROGATE.search(text) and _LONE.search(_PAIR.sub("", text)) else None


_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_PAIR = re.compile(r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_LONE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


def too_deep(text: str) -> bool:
    """Whether a text has more levels of objects and arrays than records may."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    depth = 0
    for found in _BRACKETS.finditer(text):
        sign = found.group()[0]
        depth += 1 if sign in "[{" else -1 if sign in "]}" else 0
        if depth > DEEPEST:
            return True
    return False
