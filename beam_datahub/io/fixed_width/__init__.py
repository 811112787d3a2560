"""Fixed-width text: columns that begin at the same place in every line."""

from __future__ import annotations

from beam_datahub.io.fixed_width.options import FixedWidthReadOptions
from beam_datahub.io.fixed_width.sink import FixedWidthSink, FixedWidthWriteOptions
from beam_datahub.io.fixed_width.source import FixedWidthSource

__all__ = ["FixedWidthReadOptions", "FixedWidthSink", "FixedWidthSource", "FixedWidthWriteOptions"]
