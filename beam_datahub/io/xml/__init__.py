"""XML documents: elements that repeat are records."""

from __future__ import annotations

from beam_datahub.io.xml.sink import XmlSink, XmlWriteOptions
from beam_datahub.io.xml.source import XmlReadOptions, XmlSource

__all__ = ["XmlReadOptions", "XmlSink", "XmlSource", "XmlWriteOptions"]
