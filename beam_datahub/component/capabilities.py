"""What a connector can do, as data: the compiler's checks and the reference are derived from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WriteMode(StrEnum):
    """How a destination treats what is there already."""

    APPEND = "append"
    OVERWRITE = "overwrite"
    MERGE = "merge"


class Delivery(StrEnum):
    """How often a record can arrive when bundles and commits are retried."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"


@dataclass(frozen=True)
class SourceCapabilities:
    """What a source can do.

    `columns`: reads only the columns that are asked for. `predicate`: skips rows that a pushed predicate excludes (it may
    still return some). `splits`: what one split is, in words ("byte range", "row group"), or None when it cannot split.
    `resumes`: it is a log, and each run reads on from where the last one ended; what a position in it is called ("offset").
    """

    columns: bool = False
    predicate: bool = False
    splits: str | None = None
    unbounded: bool = False
    resumes: str | None = None


@dataclass(frozen=True)
class SinkCapabilities:
    """What a sink can do. `nested`: keeps structs and lists; `types`: SQL types that it returns as they were written; `erase`:
    finds and removes the records of one person; `rejects`: refuses single records, which then go to the dead letter.
    """

    write_modes: tuple[WriteMode, ...] = (WriteMode.APPEND, WriteMode.OVERWRITE)
    delivery: Delivery = Delivery.EXACTLY_ONCE
    nested: bool = True
    types: tuple[str, ...] = ()
    partitions: bool = False
    erase: bool = False
    rejects: bool = False
