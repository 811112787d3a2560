"""The records inside a JSON text as pieces of that text, digit for digit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]

# Gives the value that begins at a place of a text, and where it ends.
Scan = Callable[[str, int], tuple[object, int]]
_SPACE = re.compile(r"[ \t\n\r]*")


def slices(text: str, steps: Sequence[str | int]) -> Iterator[str]:
    """The elements of the array at the end of `steps`, or the one value there. The text is valid JSON. Raises KeyError."""
    # What every JSONDecoder works with: it tells where a value ends.
    scan: Scan = vars(json.JSONDecoder())["scan_once"]
    start = _skip(text, 0)
    for step in steps:
        start = _descend(text, start, step, scan)
    if text[start] != "[":
        yield text[start : scan(text, start)[1]]
        return
    place = _skip(text, start + 1)
    while text[place] != "]":
        end = scan(text, place)[1]
        yield text[place:end]
        place = _skip(text, end)
        if text[place] == ",":
            place = _skip(text, place + 1)


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _descend(text: str, start: int, step: str | int, scan: Scan) -> int:
    """Where the value of a key or an index begins. Of a key that stands twice the first counts."""
    if text[start] != ("[" if isinstance(step, int) else "{"):
        raise KeyError(step)
    place, index = _skip(text, start + 1), 0
    while text[place] not in "]}":
        key: str | int = index
        if isinstance(step, str):
            key, place = scanstring(text, place + 1)
            place = _skip(text, _skip(text, place) + 1)
        if key == step:
            return place
        place, index = _skip(text, scan(text, place)[1]), index + 1
        if text[place] == ",":
            place = _skip(text, place + 1)
    raise KeyError(step)
