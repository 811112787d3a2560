"""Lines of fixed-width text as columns of text, and back: columns are cut out and padded for all lines at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

BLANKS = " \t"


@dataclass(frozen=True)
class Slot:
    """Where a column stands in a line, in characters from 0, and what its values are filled up with on which side."""

    name: str
    start: int
    end: int
    align: Literal["left", "right"] = "left"
    pad: str = " "

    @property
    def width(self) -> int:
        """Its characters."""
        return self.end - self.start


def cut(lines: pa.Array, slot: Slot, trim: Literal["both", "left", "right", "none"]) -> pa.Array:
    """The texts of a column, trimmed; null where nothing is left."""
    text = pc.utf8_slice_codeunits(lines, slot.start, slot.end)
    if slot.pad != " ":
        text = _unpadded(text, slot)
    if trim != "none":
        text = {"both": pc.utf8_trim, "left": pc.utf8_ltrim, "right": pc.utf8_rtrim}[trim](text, BLANKS)
    blank = pc.equal(pc.binary_length(pc.utf8_trim(text, BLANKS)), 0)
    return pc.if_else(blank, pa.scalar(None, pa.string()), text)


def _unpadded(text: pa.Array, slot: Slot) -> pa.Array:
    """Texts without what they were filled up with; zeros go from behind the sign, and of one that is all zeros, a zero stays."""
    if slot.pad == "0" and slot.align == "right":
        return pc.replace_substring_regex(text, r"^([+-]?)0+([^.,])", r"\1\2")
    return pc.utf8_ltrim(text, slot.pad) if slot.align == "right" else pc.utf8_rtrim(text, slot.pad)


def pointed(text: pa.Array, digits: int) -> pa.Array:
    """Numbers with a decimal point before the last `digits` digits; what is no integer stays as it is."""
    filled = pc.replace_substring_regex(text, r"^([+-]?)(\d+)$", rf"\1{'0' * digits}\2")
    return pc.replace_substring_regex(filled, rf"^([+-]?)0*(\d+)(\d{{{digits}}})$", r"\1\2.\3")


def ragged(lines: pa.Array, width: int, *, short: bool, long: bool) -> dict[int, str]:
    """The lines that are too short or have more than blanks behind `width`, with what is wrong."""
    lengths = pc.utf8_length(lines)
    found: dict[int, str] = {}
    if short:
        for i in pc.indices_nonzero(pc.less(lengths, width)).to_pylist():
            found[i] = f"the line has {lengths[i].as_py()} characters, expected {width}"
    if long:
        over = pc.indices_nonzero(pc.greater(lengths, width))
        rest = pc.utf8_trim(pc.utf8_slice_codeunits(lines.take(over), width), BLANKS)
        for i in over.filter(pc.greater(pc.binary_length(rest), 0)).to_pylist():
            found[i] = f"the line has {lengths[i].as_py()} characters, expected {width}"
    return found


def written(columns: Sequence[pa.Array], slots: Sequence[Slot], ending: str) -> pa.Buffer:
    """Texts, none of them longer than its slot, as lines; between slots stand blanks."""
    parts: list[pa.Array | pa.Scalar] = []
    place = 0
    for slot, text in sorted(zip(slots, columns, strict=True), key=lambda pair: pair[0].start):
        if slot.start > place:
            parts.append(pa.scalar(" " * (slot.start - place)))
        fill = pc.utf8_lpad if slot.align == "right" else pc.utf8_rpad
        filled = fill(pc.fill_null(text, ""), slot.width, slot.pad)
        if slot.align == "right" and slot.pad == "0":
            # The sign stays in front.
            filled = pc.utf8_zero_fill(pc.fill_null(text, ""), slot.width)
        # What is missing is blank, whatever the padding.
        parts.append(pc.if_else(pc.is_null(text), " " * slot.width, filled))
        place = slot.end
    parts.append(pa.scalar(ending))
    lines = pc.binary_join_element_wise(*parts, "")
    _, offsets, data = lines.buffers()
    edges = np.frombuffer(offsets, np.int32)
    return data.slice(int(edges[lines.offset]), int(edges[lines.offset + len(lines)] - edges[lines.offset]))
