"""What a connector can do, as data: the compiler's checks and the reference are derived from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WriteMode(StrEnum):
    """How a destination treats what is there already."""

    APPEND = "append"
    OVERWRITE = "overwrite"
    MERGE = "merge"
    DELETE_INSERT = "delete_insert"
    SCD1 = "scd1"
    SCD2 = "scd2"
    SCD3 = "scd3"


class Delivery(StrEnum):
    """How often a record can arrive when bundles and commits are retried."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"


class Acknowledging(StrEnum):
    """From where a system takes it that messages are done with: from anybody who names them, or only over the connection that
    has received them, which then stays open until the run is published.
    """

    ANYWHERE = "anywhere"
    CONNECTION = "connection"


@dataclass(frozen=True)
class SourceCapabilities:
    """What a source can do.

    `columns`: reads only the columns that are asked for. `predicate`: skips rows that a pushed predicate excludes (it may
    still return some). `splits`: what one split is, in words ("byte range", "row group"), or None when it cannot split.
    `relations`: where it can, it leaves reading to the query of the step behind it, which decodes only what it wants
    (`Source.relations`).
    `lookup`: gives just the records that have certain keys (`Source.lookup`).
    `resumes`: it is a log, and each run reads on from where the last one ended; what a position in it is called ("offset").
    `unbounded`: it can be followed as a stream (`Source.partitions`, `Source.follow`). One that `resumes` as well gives the
    records behind a position again; any other (a queue) gives again what it was not told to be published, so that a stream from
    it is at least once. `acknowledges`: it is a queue, told once a run is published what that has taken (`Source.acknowledge`).
    `seams`: its followers tell when they reach the seam of a partition, so that windows are published once.
    `delivery`: how often a record can arrive when runs are killed, whatever their destinations do.
    """

    columns: bool = False
    predicate: bool = False
    splits: str | None = None
    unbounded: bool = False
    relations: bool = False
    resumes: str | None = None
    lookup: bool = False
    acknowledges: Acknowledging | None = None
    seams: bool = False
    delivery: Delivery = Delivery.EXACTLY_ONCE


@dataclass(frozen=True)
class SinkCapabilities:
    """What a sink can do. `nested`: keeps structs and lists; `types`: SQL types that it returns as they were written; `erase`:
    finds and removes the records of one person; `rejects`: refuses single records, which then go to the dead letter;
    `returns`: refuses them also while they are published, and stages the hidden columns of its rows with them
    (`component.returned`).
    """

    write_modes: tuple[WriteMode, ...] = (WriteMode.APPEND, WriteMode.OVERWRITE)
    delivery: Delivery = Delivery.EXACTLY_ONCE
    nested: bool = True
    types: tuple[str, ...] = ()
    partitions: bool = False
    erase: bool = False
    rejects: bool = False
    returns: bool = False
