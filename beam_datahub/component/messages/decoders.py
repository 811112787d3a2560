"""Which decoder reads a format."""

from __future__ import annotations

from beam_datahub.component.messages.decoding import Decoder, JsonDecoder, PlainDecoder, RegistryDecoder
from beam_datahub.component.messages.delimited import CsvDecoder
from beam_datahub.component.messages.registry import Registry, SchemaRegistry
from beam_datahub.component.source import ReadRequest
from beam_datahub.schemas.document import Format


def decoder_of(
    wanted: str, request: ReadRequest, place: str, longest: int, registry: SchemaRegistry | None, delimiter: str
) -> Decoder:
    """What decodes the values of one place's messages. Raises MissingValue where a format needs a registry."""
    if wanted == "json":
        return JsonDecoder(request, place, longest)
    if wanted in ("avro", "protobuf"):
        return RegistryDecoder(request, place, longest, Registry(registry, f"the format {wanted}"), Format(wanted))
    if wanted == "csv":
        return CsvDecoder(request, place, longest, delimiter)
    return PlainDecoder(request, place, longest, text=wanted == "text")
