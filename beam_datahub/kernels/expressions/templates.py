"""Templates: text with values put in, where a null puts in nothing."""

from __future__ import annotations

import pyarrow as pa

from beam_datahub.errors import InvalidExpression
from beam_datahub.kernels.expressions.expression import Expression
from beam_datahub.kernels.session import KernelSession
from beam_datahub.kernels.types import literal


def split_template(text: str) -> list[tuple[bool, str]]:
    """The parts of a template in order: (is a value, its text). `$${` is a plain `${`. Raises InvalidExpression."""
    parts: list[tuple[bool, str]] = []
    plain = ""
    position = 0
    while position < len(text):
        if text.startswith("$${", position):
            plain += "${"
            position += 3
        elif text.startswith("${", position):
            end = _closing(text, position + 2)
            if plain:
                parts.append((False, plain))
                plain = ""
            inner = text[position + 2 : end]
            if not inner.strip():
                raise InvalidExpression("a template has an empty ${}", hint="put a column, a path or SQL between the braces")
            parts.append((True, inner))
            position = end + 1
        else:
            plain += text[position]
            position += 1
    if plain:
        parts.append((False, plain))
    return parts


def _closing(text: str, start: int) -> int:
    """Where the brace that opens before `start` closes, with quotes and inner braces skipped."""
    depth, quote = 1, ""
    for position in range(start, len(text)):
        character = text[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return position
    raise InvalidExpression("a template's ${ is not closed", hint="close it with }, or write $${ for a plain ${")


def compile_template(text: str, schema: pa.Schema, session: KernelSession) -> Expression:
    """The text expression that a template means."""
    from beam_datahub.kernels.expressions.casts import cast_sql
    from beam_datahub.kernels.expressions.compiling import compile_expression

    pieces: list[str] = []
    columns: dict[str, None] = {}
    can_fail = False
    for is_value, part in split_template(text):
        if not is_value:
            pieces.append(literal(part))
            continue
        inner = compile_expression(part, schema, session)
        columns.update(dict.fromkeys(inner.columns))
        can_fail = can_fail or inner.can_fail
        # DuckDB's concat takes a null for an empty text.
        pieces.append(cast_sql(inner.sql, inner.type, pa.string()))
    return Expression(text, f"concat({', '.join(pieces) or literal('')})", pa.string(), tuple(columns), can_fail)
