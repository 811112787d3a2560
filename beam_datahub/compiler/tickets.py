"""Tickets of a stream: what one worker read of one partition in one go, and what all steps report of it.

Every batch carries the ticket of the records that it came from, and so does every report. A ticket is through when its own books
balance: all that was read under it is staged, filtered, merged away or in the dead letter. Nothing about how an engine bundles,
retries or loses work matters to that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

TICKETED = "ticket"
_TICKET = b"beam_datahub.ticket"
_BOUND = b"beam_datahub.bound"
# The ticket of all results that were published before, and how those begin of what is read again.
AGAIN = "again"


@dataclass(frozen=True)
class Stretch:
    """What a ticket covers: the records of a partition behind `start`, up to `end`; both are positions of the source."""

    source: str
    partition: str
    start: Any
    end: Any

    def to_json(self) -> str:
        """As the text that travels in a report."""
        return json.dumps(self.__dict__)

    @classmethod
    def of(cls, text: str) -> Stretch:
        """What `to_json` gave."""
        return cls(**json.loads(text))


def stamped(batch: pa.RecordBatch, ticket: str) -> pa.RecordBatch:
    """A batch that carries a ticket, beside what its metadata say already."""
    return batch.replace_schema_metadata({**(batch.schema.metadata or {}), _TICKET: ticket.encode()})


def ticket_of(batch: pa.RecordBatch) -> str | None:
    """The ticket that a batch carries; None outside of streams, and behind what has no single origin any more."""
    found = (batch.schema.metadata or {}).get(_TICKET)
    return None if found is None else found.decode()


def bounded(batch: pa.RecordBatch, bound: int) -> pa.RecordBatch:
    """A batch that says how far the watermark can be where it waits for windows (microseconds): what ends later is not late."""
    return batch.replace_schema_metadata({**(batch.schema.metadata or {}), _BOUND: str(bound).encode()})


def bound_of(batch: pa.RecordBatch) -> int | None:
    """The bound that a batch carries; None where nothing is known."""
    found = (batch.schema.metadata or {}).get(_BOUND)
    return None if found is None else int(found)


def is_again(ticket: str | None) -> bool:
    """Whether all that has this ticket was published before: it is read again only for the windows that were open."""
    return ticket is not None and ticket.split("/", 1)[0] == AGAIN


def ticketed(reports: Sequence[tuple[str, str]], ticket: str | None) -> tuple[str, str]:
    """Reports of one ticket (or of none) as one, so that they arrive together or not at all."""
    return TICKETED, json.dumps({"ticket": ticket, "reports": list(reports)})


def opened(body: str) -> tuple[str | None, list[tuple[str, str]]]:
    """What `ticketed` put together: the ticket, if there is one, and its reports."""
    facts = json.loads(body)
    return facts["ticket"], [(kind, text) for kind, text in facts["reports"]]
