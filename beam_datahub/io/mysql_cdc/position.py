"""Places in MySQL's binary log."""

from __future__ import annotations

import re
from dataclasses import dataclass

from beam_datahub.errors import InvalidValue

_WRITTEN = re.compile(r"([^\s:]+\.\d+):(\d+)(?: \(GTID ([^)]+)\))?")


@dataclass(frozen=True)
class Position:
    """A place between two transactions: file and offset on this server, and the GTIDs so far, which all servers share."""

    file: str
    offset: int
    gtid: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}" + (f" (GTID {self.gtid})" if self.gtid else "")

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position that `str` gave, or a user wrote. Raises InvalidValue."""
        found = _WRITTEN.fullmatch(text.strip())
        if found is None:
            raise InvalidValue(f"'{text}' is no place in a binary log", hint="write file and offset: binlog.000003:1234")
        return cls(found[1], int(found[2]), found[3])

    @property
    def place(self) -> tuple[int, int]:
        """What positions are compared by."""
        return number_of(self.file), self.offset


def number_of(file: str) -> int:
    """The number of a file of the log."""
    return int(file.rpartition(".")[2])
