"""Places in MongoDB's log, which are moments of the cluster's clock."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

from beam_datahub.errors import InvalidValue, UnreadableData

_WRITTEN = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)Z?(?: #(\d+))?")
# What a resume token begins with: the mark of a time, its seconds, and the number within its second.
_TIME_MARK = 0x82
_LAST_NUMBER = 2**32 - 1


@dataclass(frozen=True, order=True)
class Position:
    """A moment of the cluster's clock, all up to which was read: a second since 1970, and the number of an operation in it."""

    seconds: int
    number: int = 0

    def __str__(self) -> str:
        return f"{dt.datetime.fromtimestamp(self.seconds, dt.UTC):%Y-%m-%dT%H:%M:%SZ} #{self.number}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position that `str` gave, or a user wrote. Raises InvalidValue."""
        found = _WRITTEN.fullmatch(text.strip())
        try:
            if found is not None:
                moment = dt.datetime.fromisoformat(f"{found[1]}T{found[2]}+00:00")
                return cls(int(moment.timestamp()), int(found[3] or 0))
        except ValueError:
            pass
        raise InvalidValue(f"'{text}' is no moment of a cluster's clock", hint="write a time in UTC: 2026-03-01T12:00:00Z")

    @classmethod
    def of(cls, timestamp: Any) -> Position:
        """The moment of a BSON timestamp."""
        return cls(timestamp.time, timestamp.inc)

    @classmethod
    def of_token(cls, token: Any) -> Position:
        """The moment that a resume token stands for. Raises UnreadableData."""
        data = token.get("_data") if token is not None else None
        try:
            raw = bytes.fromhex(data) if isinstance(data, str) else bytes(data or b"")
        except ValueError:
            raw = b""
        if len(raw) < 9 or raw[0] != _TIME_MARK:
            raise UnreadableData(
                "the server does not tell how far its changes have come", hint="MongoDB does from version 4.2 on"
            )
        return cls(int.from_bytes(raw[1:5], "big"), int.from_bytes(raw[5:9], "big"))

    @property
    def before(self) -> Position:
        """The moment right before."""
        return Position(self.seconds, self.number - 1) if self.number else Position(self.seconds - 1, _LAST_NUMBER)

    @property
    def timestamp(self) -> Any:
        """The same as BSON has it."""
        import bson

        return bson.Timestamp(self.seconds, self.number)

    @property
    def place(self) -> int:
        """A number that rises with the moments, and has room for a thousand changes within each."""
        return (self.seconds << 30) + (self.number << 10)
