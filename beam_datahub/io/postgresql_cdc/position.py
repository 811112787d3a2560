"""Places in PostgreSQL's log, and what of it a reader has seen already in a snapshot."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from beam_datahub.errors import InvalidValue

_WRITTEN = re.compile(
    r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})(?: \(but for snapshot (\d+:\d+:[\d,]*) until ([0-9A-F]+/[0-9A-F]+)\))?"
)


def lsn_of(text: str) -> int:
    """The number of `16/B374D848`."""
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def lsn_text(lsn: int) -> str:
    """A place as the server writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@dataclass(frozen=True)
class Position:
    """How far a table was read: all transactions whose commit begins before `lsn` are done, and those that the snapshot
    (`xmin:xmax:others`, as the server writes it) has seen, which all end before `until`.
    """

    lsn: int
    snapshot: str | None = None
    until: int = 0

    def __str__(self) -> str:
        seen = f" (but for snapshot {self.snapshot} until {lsn_text(self.until)})" if self.snapshot else ""
        return lsn_text(self.lsn) + seen

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position that `str` gave, or that a user wrote as a place in the log. Raises InvalidValue."""
        found = _WRITTEN.fullmatch(text.strip())
        if found is None:
            raise InvalidValue(f"'{text}' is no place in PostgreSQL's log", hint="write it as the server does: 16/B374D848")
        lsn = lsn_of(f"{found[1]}/{found[2]}")
        return cls(lsn, found[3], lsn_of(found[4])) if found[3] else cls(lsn)

    def moved(self, lsn: int) -> Position:
        """The position once all before `lsn` is read as well."""
        lsn = max(lsn, self.lsn)
        return Position(lsn) if lsn >= self.until else replace(self, lsn=lsn)

    def news(self, commits: npt.NDArray[np.int64], xids: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which changes are new, by where their transactions' commits begin and by the transactions' numbers."""
        fresh: npt.NDArray[np.bool_] = commits >= self.lsn
        if self.snapshot is None:
            return fresh
        low, high, others = self.snapshot.split(":")
        xmin, xmax = int(low), int(high)
        # The log has the last 32 bits of a number only; those meant are the nearest to the snapshot.
        behind = (xids - xmax + 2**31) % 2**32 - 2**31
        full = xmax + behind
        running = np.array([int(each) for each in others.split(",") if each], dtype=np.int64)
        seen = (full < xmin) | ((full < xmax) & ~np.isin(full, running))
        return fresh & ~seen
