"""Masks that are SQL: each shows a stated part of a text and nothing else.

Every function takes `text`, SQL of type VARCHAR, and gives SQL of type VARCHAR. A value that does not have the form is
replaced as a whole by `hidden`, for nobody knows what a part of it would tell. A null stays null.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pyarrow as pa

from beam_datahub.kernels.types import literal, quoted, sql_type
from beam_datahub.kernels.widening import is_number

# Everything up to the last four digits, and these with what stands between and behind them.
_LAST_FOUR = r"^(.*?)((?:[0-9][^0-9]*){4})$"
# Blanks, and what stands between digits: blanks, dots, slashes and dashes, those of word processors as well.
_BLANK = r"\s\x{A0}\x{2007}\x{202F}\x{3000}"
_DASH = r"\-\x{2010}-\x{2015}\x{2212}\x{FF0D}"
_BETWEEN = rf"[{_DASH}{_BLANK}./]{{0,3}}"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_FOUR = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_PORT = "(?::[0-9]{1,5})?"
_NUMBER = rf"\+?[{_BLANK}(]*[0-9](?:[{_DASH}{_BLANK}()./]{{0,3}}[0-9]){{6,19}}"
_EXTENSION = rf"(?:[{_BLANK},;]*(?:[xX#]|[eE][xX][tT])[{_BLANK}.:=]*[0-9]{{1,6}})?"


def partial(text: str, first: int, last: int, character: str) -> str:
    """The first and last characters, `character` for each one between; all hidden where no more than these are there."""
    hidden, shown = literal(character), first + last
    middle = f"repeat({hidden}, length({text}) - {shown})"
    return (
        f"CASE WHEN length({text}) <= {shown} THEN repeat({hidden}, length({text})) "
        f"ELSE left({text}, {first}) || {middle} || right({text}, {last}) END"
    )


def email(text: str, shown: int, hidden: str) -> str:
    """`ab***@example.org`: the first `shown` characters and the domain, of a single plain address."""
    form = rf"^[{_BLANK}]*([^{_BLANK}@<>(),;:\"]+)@([^{_BLANK}@<>(),;:\"]+)[{_BLANK}]*$"
    # No more characters before the @ than are shown: then none of them is.
    local, domain = _part(text, form, 1), _part(text, form, 2)
    return (
        f"CASE WHEN {text} IS NULL THEN NULL WHEN {domain} = '' THEN {literal(hidden)} "
        f"ELSE CASE WHEN length_grapheme({local}) > {shown} THEN left_grapheme({local}, {shown}) ELSE '' END "
        f"|| {literal(hidden + '@')} || {domain} END"
    )


def ssn(text: str, hidden: str) -> str:
    """`XXX-XX-1234`, with or without separators in the value."""
    form = rf"[{_BLANK}]*[0-9]{{3}}{_BETWEEN}[0-9]{{2}}{_BETWEEN}[0-9]{{4}}[{_BLANK}]*"
    return _formed(text, form, f"'XXX-XX-' || {_last_digits(text)}", hidden)


def card(text: str, hidden: str, *, own: bool = False) -> str:
    """`XXXX-XXXX-XXXX-1234`: the last four of 12 to 19 digits; `own`: in the value's own grouping."""
    form = rf"[{_BLANK}]*[0-9](?:{_BETWEEN}[0-9]){{11,18}}[{_BLANK}]*"
    return _formed(text, form, _last_four(text) if own else f"'XXXX-XXXX-XXXX-' || {_last_digits(text)}", hidden)


def phone(text: str, hidden: str, *, own: bool = False) -> str:
    """`XXX-XXX-1234`: the last four of at least seven digits, without the extension; `own`: in the value's own layout."""
    form = rf"[{_BLANK}]*(?:[tT][eE][lL]:)?({_NUMBER}){_EXTENSION}[{_BLANK}]*"
    number = _part(text, f"^{form}$", 1)
    return _formed(text, form, _last_four(number) if own else f"'XXX-XXX-' || {_last_digits(number)}", hidden)


def ip(text: str, hidden: str) -> str:
    """`XXX.XXX.XXX.n` and, of version 6, `XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:n`: the last number, without port and prefix."""
    four = rf"^[{_BLANK}]*({_FOUR})(?:{_PORT}|/[0-9]{{1,2}})[{_BLANK}]*$"
    rest = rf"(?:%[0-9A-Za-z._-]+)?(?:/[0-9]{{1,3}})?(?:\]{_PORT})?[{_BLANK}]*$"
    both = rf"^[{_BLANK}]*\[?([0-9A-Fa-f:]*:{_FOUR}){rest}"
    six = rf"^[{_BLANK}]*\[?([0-9A-Fa-f]{{0,4}}(?::[0-9A-Fa-f]{{0,4}}){{2,7}}){rest}"
    octet, last = f"({_OCTET})$", "([0-9A-Fa-f]{0,4})$"
    return (
        f"CASE WHEN {text} IS NULL THEN NULL "
        f"WHEN {_part(text, four, 1)} <> '' THEN 'XXX.XXX.XXX.' || {_part(_part(text, four, 1), octet, 1)} "
        f"WHEN {_part(text, both, 1)} <> '' "
        f"THEN 'XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXX.XXX.XXX.' || {_part(_part(text, both, 1), octet, 1)} "
        f"WHEN {_part(text, six, 1)} <> '' "
        f"THEN 'XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:XXXX:' || coalesce(nullif({_part(_part(text, six, 1), last, 1)}, ''), '0') "
        f"ELSE {literal(hidden)} END"
    )


def iban(text: str, hidden: str) -> str:
    """`DEXX XXXX XXXX XXXX XX30 00`: the country and the last four characters, in the value's own grouping."""
    inner = "([A-Za-z]{2})([0-9]{2}[ -]?(?:[A-Za-z0-9][ -]?){7,27})((?:[A-Za-z0-9][ -]?){4})"
    form = rf"\s*(?:IBAN[: ]+)?{inner}\s*"
    middle = f"regexp_replace({_part(text, f'^{form}$', 2)}, '[A-Za-z0-9]', 'X', 'g')"
    return _formed(text, form, f"{_part(text, f'^{form}$', 1)} || {middle} || rtrim({_part(text, f'^{form}$', 3)})", hidden)


def name(text: str, hidden: str) -> str:
    """`A*** L***`: the initial of each word, however long it is; nothing of a word of one letter."""
    word = f"CASE WHEN word = '' THEN '' WHEN length(word) = 1 THEN {literal(hidden)} ELSE left(word, 1) || {literal(hidden)} END"
    return (
        f"CASE WHEN {text} IS NOT NULL THEN "
        f"array_to_string(list_transform(regexp_split_to_array(trim({text}), '\\s+'), lambda word: {word}), ' ') END"
    )


def band(column: str, kind: pa.DataType, width: float | int | Decimal) -> str:
    """Numbers as bands of equal width, from 0: `20-29` for whole numbers, `[20, 30)` for others."""
    value, step = quoted(column), literal(str(width))
    if pa.types.is_integer(kind) and float(width).is_integer():
        low = f"CAST(floor(CAST({value} AS DECIMAL(38,3)) / {int(width)}) AS HUGEINT) * {int(width)}"
        return f"CASE WHEN {value} IS NOT NULL THEN ({low}) || '-' || ({low} + {int(width) - 1}) END"
    low = f"floor(CAST({value} AS DOUBLE) / CAST({step} AS DOUBLE)) * CAST({step} AS DOUBLE)"
    return f"CASE WHEN {value} IS NOT NULL THEN '[' || ({low}) || ', ' || ({low} + CAST({step} AS DOUBLE)) || ')' END"


def bands(column: str, kind: pa.DataType, bounds: Sequence[float | int | Decimal]) -> str:
    """Numbers as the bands between `bounds` (ascending): `<18`, `18-64`, `65+`."""
    value = quoted(column)
    whole = pa.types.is_integer(kind) and all(float(bound).is_integer() for bound in bounds)
    target = sql_type(kind) if pa.types.is_decimal(kind) else "DOUBLE"
    shown = [str(int(bound)) if float(bound).is_integer() else str(bound) for bound in bounds]
    cases = [f"WHEN {value} < {_number(bounds[0], target)} THEN {literal('<' + shown[0])}"]
    for index in range(1, len(bounds)):
        label = f"{shown[index - 1]}-{int(bounds[index]) - 1}" if whole else f"[{shown[index - 1]}, {shown[index]})"
        label = shown[index - 1] if whole and int(bounds[index]) - 1 == int(bounds[index - 1]) else label
        cases.append(f"WHEN {value} < {_number(bounds[index], target)} THEN {literal(label)}")
    return f"CASE WHEN {value} IS NULL THEN NULL {' '.join(cases)} ELSE {literal(shown[-1] + '+')} END"


def truncated(column: str, kind: pa.DataType, unit: str) -> str:
    """Dates and times as the first day of their month, quarter, year or decade; the type stays."""
    return f"CAST(date_trunc({literal(unit)}, {quoted(column)}) AS {sql_type(kind)})"


def takes_bands(kind: pa.DataType) -> bool:
    """Whether values of this type fall into bands."""
    return is_number(kind)


def takes_truncation(kind: pa.DataType) -> bool:
    """Whether values of this type have a month and a year."""
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _number(bound: float | int | Decimal, target: str) -> str:
    return f"CAST({literal(str(bound))} AS {'DECIMAL(38,10)' if target.startswith('DECIMAL') else target})"


def _part(text: str, pattern: str, group: int) -> str:
    return f"regexp_extract({text}, {literal(pattern)}, {group})"


def _last_digits(text: str) -> str:
    return f"right(regexp_replace({text}, '[^0-9]', '', 'g'), 4)"


def _last_four(text: str) -> str:
    # The first group takes as little as it can and the second exactly four digits: there is one way to part a text.
    before = f"regexp_replace({_part(text, _LAST_FOUR, 1)}, '[0-9]', 'X', 'g')"
    return f"{before} || {_part(text, _LAST_FOUR, 2)}"


def _formed(text: str, pattern: str, shown: str, hidden: str) -> str:
    return (
        f"CASE WHEN {text} IS NULL THEN NULL WHEN regexp_full_match({text}, {literal(pattern)}) THEN {shown} "
        f"ELSE {literal(hidden)} END"
    )
