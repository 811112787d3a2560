"""What each type's values look like in delimited text: SQL that converts text exactly and tells the misfits.

| type | accepted (blanks around are ignored for all but text; a null word, quoted or not, is null) |
|---|---|
| integers | optional sign and digits within the range; `0x` and hexadecimal digits, as the bits of the integer |
| float, double | decimal or scientific notation; `inf`, `infinity`, `nan`; a number too big is a misfit |
| decimal(p, s) | digits that fit without rounding; scientific notation where exact |
| boolean | the dialect's words, in any case |
| date | `2025-01-31` |
| time | `14:05`, `14:05:59`, `14:05:59.123456`; digits beyond microseconds are cut off |
| timestamp | a date, alone or with `T` or a blank and a time (the hour alone will do); a zone only when it is UTC |
| timestamptz | the same with `Z` or an offset such as `+02:00`; UTC without one |
| JSON | JSON |
| lists, structs, maps | JSON, or as DuckDB writes them |
| interval, blob | as DuckDB writes them |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, InvalidOperation

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.delimited import Dialect
from beam_datahub.kernels.types import JSON, TIMESTAMP, TIMESTAMPTZ, literal, quoted, sql_type

_HOUR = "([01][0-9]|2[0-3])"
_DAY = "[0-9]{4,6}-[0-9]{2}-[0-9]{2}"
_TIME = f"{_HOUR}:[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?"
_MOMENT = f"{_DAY}([T ]({_TIME}|{_HOUR}))?"
_UTC = " ?(Z|UTC|GMT|[+-]00(:?00)?)"
_ZONE = " ?(Z|UTC|GMT|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)"
_REAL = "[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?"
# The words of IEEE 754, with the payload that some programs print.
_NOT_FINITE = "(?i)[+-]?(inf|infinity|nan([(].*[)])?)"
_EXACT = Context(prec=1200)
_SCIENTIFIC = "[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)[eE][+-]?[0-9]{1,3}"


def is_text(data_type: pa.DataType) -> bool:
    """Whether the text of a field is its value as it stands."""
    return bool(pa.types.is_string(data_type))


def parses_natively(data_type: pa.DataType) -> bool:
    """Whether pyarrow's parser reads the type, accepting no value that `conversion` refuses."""
    t = pa.types
    return bool(
        t.is_string(data_type)
        or t.is_integer(data_type)
        or t.is_floating(data_type)
        or t.is_boolean(data_type)
        or t.is_date32(data_type)
        or t.is_time64(data_type)
        or t.is_decimal(data_type)
        or data_type in (TIMESTAMP, TIMESTAMPTZ)
    )


@dataclass(frozen=True)
class Wanted:
    """A column to convert: its name in the session's table of texts, its type, and the formats that its dates are written in."""

    column: str
    data_type: pa.DataType
    formats: tuple[str, ...] = ()


def reads_quickly(wanted: Wanted, dialect: Dialect) -> bool:
    """Whether Arrow's cast from text accepts no value that `conversion` refuses, and reads the others alike."""
    t, kind = pa.types, wanted.data_type
    number = t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind)
    plain = dialect.decimal_point == "." and dialect.thousands is None
    return not wanted.formats and ((number and plain) or t.is_date32(kind) or kind == TIMESTAMP)


def conversion(table: str, wanted: Sequence[Wanted], dialect: Dialect) -> str:
    """SQL that reads text columns of `table`: for the i-th one its value `v<i>`, `m<i>`, true where it is a misfit,
    and the text `t<i>`.

    Values in their usual form take a short way; trimming and patterns cost several times as much. Each step is a
    projection of its own, so that nothing is computed twice.
    """
    nulls = ", ".join(literal(word) for word in dialect.null_words) or "NULL"
    raws, trusts, trims, values, fits = [], [], [], [], []
    for i, one in enumerate(wanted):
        bare = pa.types.is_binary(one.data_type)
        raw = quoted(one.column)
        quick, usual = _quick(raw, f"q{i}", one.data_type, dialect, one.formats)
        raws.append(f"{raw}, {quick} AS q{i}")
        trimmed = raw if bare else f"trim({raw}, ' \t')"
        trusts.append(f"{raw}, q{i}, {usual} AS u{i}")
        trims.append(f"q{i}, u{i}, CASE WHEN u{i} THEN {raw} ELSE {trimmed} END AS t{i}")
        values.append(f"t{i}, CASE WHEN u{i} THEN q{i} ELSE {_value(f't{i}', one.data_type, dialect, one.formats)} END AS v{i}")
        there = "IS NOT NULL" if bare else f"NOT IN ({nulls})"
        fits.append(f"v{i}, coalesce(v{i} IS NULL AND t{i} {there}, false) AS m{i}, t{i}")
    steps = (f"SELECT {', '.join(step)}" for step in (fits, values, trims, trusts, raws))
    return " FROM (".join(steps) + f" FROM {table}" + ")" * 4


def _quick(raw: str, value: str, data_type: pa.DataType, dialect: Dialect, formats: Sequence[str]) -> tuple[str, str]:
    """SQL that reads the text `raw` in its usual form, and SQL that is true where the `value` so read can be trusted."""
    t = pa.types
    kind = sql_type(data_type)
    number = t.is_integer(data_type) or t.is_floating(data_type) or t.is_decimal(data_type)
    foreign = bool(formats) or (number and (dialect.decimal_point != "." or dialect.thousands is not None))
    if t.is_floating(data_type) and not foreign:
        return f"TRY_CAST({raw} AS {kind})", f"coalesce(isfinite({value}) AND NOT contains({raw}, '_'), false)"
    zoned = t.is_timestamp(data_type) and data_type.tz is not None
    if (number or (t.is_temporal(data_type) and not zoned and kind != "INTERVAL")) and not foreign:
        return f"TRY_CAST({raw} AS {kind})", f"coalesce(CAST({value} AS VARCHAR) = {raw}, false)"
    return f"CAST(NULL AS {kind})", "false"


def _value(text: str, data_type: pa.DataType, dialect: Dialect, formats: Sequence[str]) -> str:
    t = pa.types
    kind = sql_type(data_type)
    if t.is_binary(data_type):
        return f"TRY_CAST({text} AS BLOB)"
    if formats:
        patterns = ", ".join(literal(pattern) for pattern in formats)
        return f"TRY_CAST(try_strptime({text}, [{patterns}]) AS {kind})"
    if t.is_integer(data_type):
        return _integer(_plain_number(text, dialect), data_type)
    if t.is_floating(data_type):
        number = _plain_number(text, dialect)
        read = f"TRY_CAST({number} AS {kind})"
        return (
            f"CASE WHEN {_full(number, _REAL)} THEN nullif(nullif({read}, 'inf'::{kind}), '-inf'::{kind})"
            f" WHEN {_full(text, _NOT_FINITE)} THEN"
            f" CASE WHEN contains({text}, '(') THEN TRY_CAST('nan' AS {kind}) ELSE {read} END END"
        )
    if t.is_decimal(data_type):
        number = _plain_number(text, dialect)
        scale = data_type.scale
        exact = f"[+-]?([0-9]+([.][0-9]{{0,{scale}}}0*)?|[.][0-9]{{0,{scale}}}0*)"
        return f"CASE WHEN {_full(number, exact)} THEN TRY_CAST({number} AS {kind}) END"
    if t.is_boolean(data_type):
        true, false = (", ".join(literal(word.lower()) for word in words) for words in (dialect.true_words, dialect.false_words))
        return f"CASE WHEN lower({text}) IN ({true or 'NULL'}) THEN true WHEN lower({text}) IN ({false or 'NULL'}) THEN false END"
    if t.is_date(data_type):
        return f"CASE WHEN {_full(text, _DAY)} THEN TRY_CAST({text} AS DATE) END"
    if t.is_time(data_type):
        return f"CASE WHEN {_full(text, _TIME)} THEN TRY_CAST({text} AS TIME) END"
    if t.is_timestamp(data_type):
        return _timestamp(text, kind, zoned=data_type.tz is not None)
    if data_type == JSON:
        return f"CASE WHEN json_valid({text}) THEN {text} END"
    if t.is_nested(data_type):
        return f"coalesce(TRY_CAST(TRY_CAST({text} AS JSON) AS {kind}), TRY_CAST({text} AS {kind}))"
    return f"TRY_CAST({text} AS {kind})"


def _timestamp(text: str, kind: str, *, zoned: bool) -> str:
    """The usual form is cast as it stands; an hour without minutes and a blank before the zone are mended first."""
    zone = _ZONE if zoned else _UTC
    usual = f"{_DAY}([T ]{_TIME}(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?)?" if zoned else f"{_DAY}([T ]{_TIME})?"
    unusual = f"{_DAY}[T ]({_TIME}|{_HOUR})({zone})?" if zoned else f"{_MOMENT}({zone})?"
    moment = f"regexp_extract({text}, '^({_MOMENT})({zone})?$', 1)"
    whole = f"CASE WHEN regexp_full_match({moment}, '.*[T ][0-9]{{2}}') THEN {moment} || ':00' ELSE {moment} END"
    rest = f"trim(substr({text}, length({moment}) + 1))"
    offset = f"regexp_replace({rest}, 'UTC|GMT', 'Z')" if zoned else "''"
    return (
        f"CASE WHEN {_full(text, usual)} THEN TRY_CAST({text} AS {kind})"
        f" WHEN {_full(text, unusual)} THEN TRY_CAST(({whole}) || {offset} AS {kind}) END"
    )


def _full(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, {literal(pattern)})"


def _integer(text: str, data_type: pa.DataType) -> str:
    kind = sql_type(data_type)
    digits = f"0[xX][0-9a-fA-F]{{1,{data_type.bit_width // 4}}}"
    bits = f"TRY_CAST(TRY_CAST({text} AS UBIGINT) AS HUGEINT)"
    if pa.types.is_signed_integer(data_type):
        half, whole = 1 << (data_type.bit_width - 1), 1 << data_type.bit_width
        bits = f"(CASE WHEN {bits} >= {half}::HUGEINT THEN {bits} - {whole}::HUGEINT ELSE {bits} END)"
    return (
        f"CASE WHEN {_full(text, '[+-]?[0-9]+')} THEN TRY_CAST({text} AS {kind})"
        f" WHEN {_full(text, digits)} THEN TRY_CAST({bits} AS {kind}) END"
    )


def _plain_number(text: str, dialect: Dialect) -> str:
    """SQL for the number with a decimal point and no thousands signs; null where the dialect's signs are out of place."""
    point, group = dialect.decimal_point, dialect.thousands
    if point == "." and group is None:
        return text
    found = text
    if group is not None:
        grouped = f"[+-]?[0-9]{{1,3}}([{group}][0-9]{{3}})+([{point}][0-9]*)?"
        removed = f"replace({text}, {literal(group)}, '')"
        found = f"(CASE WHEN NOT contains({text}, {literal(group)}) THEN {text} WHEN {_full(text, grouped)} THEN {removed} END)"
    if point != ".":
        plain = found if group == "." else f"(CASE WHEN NOT contains({text}, '.') THEN {found} END)"
        found = f"replace({plain}, {literal(point)}, '.')"
    return found


def exact_decimals(texts: pa.Array, data_type: pa.Decimal128Type, dialect: Dialect) -> pa.Array:
    """The decimals that `texts` write in scientific notation, null where they are not exactly of the type."""
    if dialect.decimal_point != ".":
        texts = pc.replace_substring(texts, dialect.decimal_point, ".")
    bound = Decimal(10) ** (data_type.precision - data_type.scale)
    unit = Decimal(1).scaleb(-data_type.scale)
    found: list[Decimal | None] = []
    for text in texts.to_pylist():
        try:
            value = Decimal(text.strip(" \t")) if text is not None else None
            fits = value is not None and abs(value) < bound and _EXACT.remainder(value, unit) == 0
            found.append(_EXACT.quantize(value, unit) if fits and value is not None else None)
        except InvalidOperation:
            found.append(None)
    return pa.array(found, data_type)


def is_scientific(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether each text is a number in scientific notation."""
    plain = pc.replace_substring(pc.utf8_trim(texts, " \t"), ",", ".")
    return pc.match_substring_regex(plain, f"^{_SCIENTIFIC}$")


def may_be_too_big(column: pa.ChunkedArray) -> bool:
    """Whether pyarrow may have read a value of this column that the SQL refuses: a number too big became infinite."""
    if not pa.types.is_floating(column.type):
        return False
    return bool(pc.any(pc.is_inf(column)).as_py())


def read_type(data_type: pa.DataType) -> pa.DataType:
    """The type that pyarrow's parser is asked for."""
    # pyarrow's parser does not see when a decimal overflows; its cast does.
    return pa.string() if pa.types.is_decimal(data_type) else data_type


def cast(array: pa.ChunkedArray, data_type: pa.DataType) -> pa.ChunkedArray:
    """A column as Arrow reads it. Raises ArrowInvalid where a value is not of the type."""
    if pa.types.is_decimal(data_type) and pa.types.is_string(array.type):
        # Scaling 38 digits needs more room than the decimal itself has.
        array = array.cast(pa.decimal256(38, data_type.scale))
    return array if array.type == data_type else array.cast(data_type)


def spellings(words: Sequence[str]) -> list[str]:
    """The words in the forms that pyarrow's parser is to know."""
    return sorted({form for word in words for form in (word, word.lower(), word.upper(), word.title())})
