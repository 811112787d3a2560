"""Batches as XML elements, one a row: the text of what XML destinations write."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from beam_datahub.kernels.delimited_sniff import repeated
from beam_datahub.kernels.json_rows import joined
from beam_datahub.kernels.types import JSON, literal, quoted, sql_type
from beam_datahub.kernels.workbench import over

XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
ATTRIBUTE, TEXT = "@", "#text"
_NAME = re.compile(r"[^\W\d][\w.-]*(:[^\W\d][\w.-]*)?")
# Signs that no XML 1.0 document can hold, however they are written.
_FORBIDDEN = "[\\x00-\\x08\\x0B\\x0C\\x0E-\\x1F\\x{FFFE}\\x{FFFF}]"


def is_name(text: str) -> bool:
    """Whether an element or an attribute may be called so."""
    return bool(_NAME.fullmatch(text)) and not text.lower().startswith("xml")


def fault(name: str, kind: pa.DataType, *, inside: bool = False) -> str | None:
    """Why an XML element cannot keep a column, or None."""
    t = pa.types
    bare = name.removeprefix(ATTRIBUTE)
    if name != TEXT and not is_name(bare):
        return f"'{bare}' is no name of XML"
    if (name == TEXT or name.startswith(ATTRIBUTE)) and t.is_nested(kind):
        return f"an attribute or a text cannot hold {sql_type(kind)}"
    if t.is_map(kind):
        return f"XML has no type for {sql_type(kind)}"
    if t.is_list(kind):
        inner = kind.value_type
        if t.is_list(inner):
            return f"XML cannot keep a list of lists: {sql_type(kind)}"
        return fault(name, inner, inside=True)
    if t.is_struct(kind):
        if twice := repeated([field.name for field in kind]):
            return f"it has several fields called '{twice[0]}'"
        return next((words for field in kind if (words := fault(field.name, field.type, inside=True)) is not None), None)
    return None


class XmlRows:
    """Writes batches of one schema as elements called `row`."""

    def __init__(self, schema: pa.Schema, row: str) -> None:
        columns = {field.name: (quoted(f"c{i}"), field.type) for i, field in enumerate(schema)}
        self._width = len(schema)
        self._sql = f"SELECT {_element(row, columns, 0)} || chr(10) AS l FROM t"

    def text(self, batch: pa.RecordBatch) -> bytes | pa.Buffer:
        """The rows as lines of XML."""
        table = pa.Table.from_batches([batch]).rename_columns([f"c{i}" for i in range(self._width)])
        return joined(over(table, self._sql).column(0))


def forbidden(batch: pa.RecordBatch) -> tuple[str, str] | None:
    """The first column with a text that XML cannot hold, and that text."""
    for name, array in zip(batch.schema.names, batch.columns, strict=True):
        for texts in _texts(array):
            bad = pc.match_substring_regex(texts, _FORBIDDEN)
            if pc.any(bad).as_py():
                return name, texts.filter(bad)[0].as_py()
    return None


def _texts(array: pa.Array) -> list[pa.Array]:
    if array.type == JSON:
        return [array.storage]
    if pa.types.is_string(array.type):
        return [array]
    if pa.types.is_list(array.type):
        return _texts(array.flatten())
    if pa.types.is_struct(array.type):
        return [text for part in array.flatten() for text in _texts(part)]
    return []


def _element(name: str, fields: dict[str, tuple[str, pa.DataType]], depth: int) -> str:
    """SQL for an element with its attributes, its text and the elements in it; none of the parts is null."""
    attributes = []
    for field, (value, kind) in fields.items():
        if field.startswith(ATTRIBUTE):
            opening = literal(f' {field.removeprefix(ATTRIBUTE)}="')
            attributes.append(f"coalesce({opening} || {_escaped(value, kind, attribute=True)} || '\"', '')")
    inside = [f"coalesce({_escaped(value, kind)}, '')" for field, (value, kind) in fields.items() if field == TEXT]
    inside += [
        f"coalesce({_part(field, value, kind, depth)}, '')"
        for field, (value, kind) in fields.items()
        if not field.startswith(ATTRIBUTE) and field != TEXT
    ]
    parts = [literal(f"<{name}"), *attributes, "'>'", *inside, literal(f"</{name}>")]
    return f"concat({', '.join(parts)})"


def _part(name: str, value: str, kind: pa.DataType, depth: int) -> str:
    """SQL for what a field becomes: an element, several of them for a list; null where it is null."""
    t = pa.types
    if t.is_list(kind):
        one = f"x{depth}"
        nil = literal(f'<{name} xsi:nil="true"/>')
        each = f"coalesce({_part(name, one, kind.value_type, depth + 1)}, {nil})"
        return f"array_to_string(list_transform({value}, lambda {one}: {each}), '')"
    if t.is_struct(kind):
        fields = {field.name: (f"struct_extract({value}, {literal(field.name)})", field.type) for field in kind}
        return f"CASE WHEN {value} IS NOT NULL THEN {_element(name, fields, depth)} END"
    space = ""
    if t.is_string(kind):
        # Readers drop white space at the ends of texts unless they are told that it counts.
        space = f"CASE WHEN regexp_matches({value}, '^\\s|\\s$') THEN ' xml:space=\"preserve\"' ELSE '' END || "
    opening, closing = literal(f"<{name}"), literal(f"</{name}>")
    return f"{opening} || {space}'>' || {_escaped(value, kind)} || {closing}"


def _escaped(value: str, kind: pa.DataType, *, attribute: bool = False) -> str:
    """SQL for the text of a value; null where it is null."""
    t = pa.types
    if t.is_boolean(kind) or t.is_integer(kind) or t.is_decimal(kind) or t.is_date(kind) or t.is_time(kind):
        return f"{value}::VARCHAR"
    if t.is_floating(kind):
        named = f"CASE WHEN isnan({value}) THEN 'NaN' WHEN {value} > 0 THEN 'INF' ELSE '-INF' END"
        return f"CASE WHEN isfinite({value}) THEN {value}::VARCHAR WHEN {value} IS NOT NULL THEN {named} END"
    if t.is_timestamp(kind):
        plain = f"timezone('UTC', {value})" if kind.tz else value
        zone = " || 'Z'" if kind.tz else ""
        return f"replace({plain}::VARCHAR, ' ', 'T'){zone}"
    if t.is_binary(kind):
        return f"to_base64({value})"
    text = f"{value}::VARCHAR"
    replaced: list[tuple[str, str]] = [("'&'", "&amp;"), ("'<'", "&lt;"), ("'>'", "&gt;"), ("chr(13)", "&#13;")]
    if attribute:
        replaced += [("chr(34)", "&quot;"), ("chr(9)", "&#9;"), ("chr(10)", "&#10;")]
    for sign, reference in replaced:
        text = f"replace({text}, {sign}, {literal(reference)})"
    return text
