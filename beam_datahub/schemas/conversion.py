"""Schemas of one format as those of another, with a list of what the other could not keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from beam_datahub.errors import InvalidSchema, LossyWrite
from beam_datahub.kernels.types import canonical_schema, sql_type
from beam_datahub.schemas.document import Document, Format


@dataclass(frozen=True)
class Columns:
    """A schema as Arrow columns; `lossy` tells what of it they do not say, as `column: what`."""

    schema: pa.Schema
    lossy: tuple[str, ...]


@dataclass(frozen=True)
class Text:
    """A schema as text.

    As `column: what`, `lossy` tells what of the columns it does not say, and `values` what single values lose in it.
    """

    text: str
    lossy: tuple[str, ...]
    values: tuple[str, ...] = ()


class _Losses:
    def __init__(self) -> None:
        self.told: dict[str, None] = {}

    def __call__(self, path: str, what: str) -> None:
        self.told[f"{path}: {what}" if path else what] = None


def to_columns(document: Document) -> Columns:
    """The columns of the rows that a schema describes. Raises InvalidSchema and UnresolvedReference."""
    losses = _Losses()
    if document.format is Format.AVRO:
        from beam_datahub.schemas.avro_columns import avro_columns
        from beam_datahub.schemas.avro_model import parse_avro

        schema = avro_columns(parse_avro(document), losses)
    elif document.format is Format.JSON:
        from beam_datahub.schemas.json_columns import json_columns
        from beam_datahub.schemas.json_model import parse_json, validate_json

        validate_json(document)
        schema = json_columns(parse_json(document), losses)
    else:
        from beam_datahub.schemas.protobuf_columns import protobuf_columns
        from beam_datahub.schemas.protobuf_model import validate_protobuf

        schema = protobuf_columns(validate_protobuf(document), losses)
    return Columns(canonical_schema(schema), tuple(losses.told))


def from_columns(schema: pa.Schema, kind: Format, name: str = "row", before: Document | None = None) -> Text:
    """The text of a schema for rows of these columns. Raises LossyWrite where a column has no type there at all.

    `before` is the version that it is to follow, which for Protobuf says the numbers of the fields.
    """
    schema = canonical_schema(schema)
    for field in schema:
        _check(field.type, field.name)
    text = _writer(kind)(schema, name, before)
    back = to_columns(Document(kind, text)).schema
    lossy = []
    for field in schema:
        kept = back.field(field.name).type if field.name in back.names else None
        if kept != field.type:
            became = "is left out" if kept is None else f"comes back as {sql_type(kept)}"
            lossy.append(f"{field.name}: {sql_type(field.type)} {became}")
    values: tuple[str, ...] = ()
    if kind is Format.PROTOBUF:
        from beam_datahub.schemas.protobuf_columns import protobuf_value_losses

        values = tuple(protobuf_value_losses(schema))
    return Text(text, tuple(lossy), values)


def _check(kind: pa.DataType, path: str) -> None:
    if pa.types.is_struct(kind) and not kind.num_fields:
        raise LossyWrite(f"{path}: a struct without fields has no type in a schema", hint="leave the column out in a mapping")
    if pa.types.is_map(kind):
        _check(kind.key_type, f"{path}[]")
        _check(kind.item_type, f"{path}[]")
        return
    for index in range(kind.num_fields):
        inner = kind.field(index)
        _check(inner.type, f"{path}.{inner.name}" if pa.types.is_struct(kind) else f"{path}[]")


def strict(lossy: tuple[str, ...], what: str) -> None:
    """Refuse a conversion that loses something. Raises LossyWrite."""
    if lossy:
        more = f"; and {len(lossy) - 5} more" if len(lossy) > 5 else ""
        raise LossyWrite(f"{what} does not keep {'; '.join(lossy[:5])}{more}", hint="allow the loss, or change the schema")


def _writer(kind: Format) -> Callable[[pa.Schema, str, Document | None], str]:
    if kind is Format.AVRO:
        from beam_datahub.schemas.avro_columns import avro_of

        return avro_of
    if kind is Format.JSON:
        from beam_datahub.schemas.json_columns import json_schema_of

        return lambda schema, name, before: json_schema_of(schema, name)
    return _protobuf


def _protobuf(schema: pa.Schema, name: str, before: Document | None) -> str:
    from beam_datahub.schemas.protobuf_columns import protobuf_of
    from beam_datahub.schemas.protobuf_model import validate_protobuf

    if before is not None and before.format is not Format.PROTOBUF:
        raise InvalidSchema(f"the version before is a schema of {before.format}")
    return protobuf_of(schema, name, None if before is None else validate_protobuf(before))
