"""How dates and times are written, as strptime formats: checked before a value is read by one."""

from __future__ import annotations

import re
from functools import cache

import duckdb

from beam_datahub.kernels.expressions.typing import typing_session
from beam_datahub.kernels.types import literal

# How other tools spell the parts of a moment: a run of one letter.
_SPELLED = {
    "YYYY": "%Y", "yyyy": "%Y", "YY": "%y", "yy": "%y", "MMMM": "%B", "MMM": "%b", "Mon": "%b", "MM": "%m", "M": "%-m",
    "DD": "%d", "dd": "%d", "D": "%-d", "d": "%-d", "HH24": "%H", "HH12": "%I", "HH": "%H", "hh": "%I", "H": "%-H", "MI": "%M",
    "mi": "%M", "mm": "%M", "SSS": "%g", "SS": "%S", "ss": "%S", "AM": "%p", "a": "%p", "Z": "%z",
}  # fmt: skip
_PART = re.compile("|".join(sorted(_SPELLED, key=len, reverse=True)) + "|T|[^A-Za-z]+")


class NoTimeFormat(ValueError):
    """A text by which no moment can be read; `hint` says what would do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@cache
def refused_time_format(text: str) -> NoTimeFormat | None:
    """What is wrong with a strptime format; None: nothing."""
    message = f"'{text}' is no format of dates or times"
    if "%" not in text.replace("%%", ""):
        meant = _meant(text)
        return NoTimeFormat(message, f"write {meant!r}" if meant else "strptime's signs are wanted, such as '%Y-%m-%d %H:%M:%S'")
    try:
        typing_session().scalar(f"SELECT try_strptime('', {literal(text)})")
    except duckdb.Error as error:
        words = str(error).splitlines()[0].rpartition(": ")[2]
        return NoTimeFormat(message, f"{words[:1].lower()}{words[1:]}; such as '%Y-%m-%d %H:%M:%S'")
    return None


def time_format(text: str) -> str:
    """`text` where it is a format. Raises NoTimeFormat."""
    refused = refused_time_format(text)
    if refused is not None:
        raise refused
    return text


def _meant(text: str) -> str | None:
    """The format that a text means by the letters of other tools, such as YYYY-MM-DD; None where that is not sure."""
    parts, place = [], 0
    while place < len(text):
        found = _PART.match(text, place)
        if found is None:
            return None
        parts.append(_SPELLED.get(found.group(), found.group()))
        place = found.end()
    if not any(part in _SPELLED.values() for part in parts):
        return None
    meant = "".join(parts)
    if "%M" in meant and not {"%m", "%b", "%B", "%H", "%I"} & set(re.findall("%.", meant)):
        # Minutes next to no hour are months in small letters.
        meant = meant.replace("%M", "%m")
    return meant
