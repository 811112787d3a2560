"""Writing XML documents."""

from __future__ import annotations

from typing import ClassVar

import pyarrow as pa
from pydantic import Field, field_validator

from beam_datahub.component.capabilities import SinkCapabilities
from beam_datahub.component.config import Config, Example
from beam_datahub.component.file_sink import FileWriteOptions, TextSink
from beam_datahub.component.registry import register
from beam_datahub.errors import LossyWrite, TargetUnusable
from beam_datahub.kernels.xml_rows import XSI, XmlRows, fault, forbidden, is_name


class XmlWriteOptions(FileWriteOptions):
    """How documents are named inside."""

    root: str = "rows"
    """The name of the root element."""

    record: str = "row"
    """The name of the element of each record."""

    namespace: str | None = Field(default=None, min_length=1)
    """The URI of the namespace that all elements are in."""

    @field_validator("root", "record")
    @classmethod
    def _name(cls, value: str) -> str:
        if not is_name(value) or ":" in value:
            raise ValueError(f"'{value}' is no name of an XML element")
        return value


@register("sink", "xml", since="0.1.0")
class XmlSink(TextSink):
    """Writes a document with one element for each record, in UTF-8; a column called `@name` becomes an attribute.

    Lists become repeated elements, so an empty one is none at all and comes back as null; null is left out. Dates and times
    are ISO 8601, BLOB is base64, JSON is text. A text with control characters, which XML cannot hold, fails the run.
    """

    Options: ClassVar[type[Config]] = XmlWriteOptions
    capabilities = SinkCapabilities(
        partitions=True,
        types=(
            *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT"),
            *("DOUBLE", "DECIMAL(18,4)", "DECIMAL(38,10)", "VARCHAR", "BLOB", "DATE", "TIME", "TIMESTAMP", "TIMESTAMPTZ"),
            "STRUCT(a BIGINT, b VARCHAR)",
        ),
    )
    examples = (
        Example(
            "Orders in elements of their own", {"connection": {"path": "out/orders.xml"}, "root": "orders", "record": "order"}
        ),
    )
    extensions: ClassVar[tuple[str, ...]] = (".xml",)

    options: XmlWriteOptions

    @property
    def closing(self) -> bytes:  # type: ignore[override]
        """What ends the document."""
        return f"</{self.options.root}>\n".encode()

    def opening(self, schema: pa.Schema) -> bytes:
        from xml.sax.saxutils import quoteattr

        own = f" xmlns={quoteattr(self.options.namespace)}" if self.options.namespace else ""
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<{self.options.root}{own} {XSI}>\n'.encode()

    def refuse(self, schema: pa.Schema) -> None:
        for field in schema:
            words = fault(field.name, field.type)
            if words is not None:
                raise LossyWrite(
                    f"XML cannot hold the column '{field.name}': {words}",
                    hint="give it another name, or write it as text: to_json(…)::varchar",
                )

    def encode(self, batch: pa.RecordBatch) -> bytes | pa.Buffer:
        bad = forbidden(batch)
        if bad is not None:
            raise TargetUnusable(
                f"the column '{bad[0]}' has a text with control characters, which XML cannot hold: {bad[1][:60]!r}",
                hint=f"take them out: regexp_replace({bad[0]}, '[[:cntrl:]]', '', 'g')",
            )
        return XmlRows(batch.schema, self.options.record).text(batch)
