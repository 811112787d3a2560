"""The contract of a source: what it holds, how it splits, and how a split becomes batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import pyarrow as pa

from beam_datahub.component.capabilities import SourceCapabilities
from beam_datahub.component.columns import ColumnsSeen, Doubt
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.errors import InvalidValue

if TYPE_CHECKING:
    from beam_datahub.component.originals import Part

# A batch aims at this many bytes of Arrow data.
BATCH_BYTES = 16 * 1024 * 1024


class Drift(StrEnum):
    """What a source does with data that leaves its schema."""

    EVOLVE = "evolve"
    FREEZE = "freeze"
    DISCARD_ROW = "discard_row"
    DISCARD_VALUE = "discard_value"


@dataclass(frozen=True)
class Contract:
    """What happens to a record with a column, or a value of a type, that the schema does not have.

    columns: evolve (a new column is let go by and reported, until discovery includes it), freeze (SchemaDrift),
    discard_row (rejected, reason `contract`), discard_value (the value is dropped, the record stays). A declared column that
    the data as a whole lacks is null and warned of, with freeze it is SchemaDrift.
    types: evolve (discovery widens over all of the sample; at run time a misfit is rejected, reason `type_mismatch`),
    freeze (SchemaDrift), discard_row (rejected, reason `contract`), discard_value (becomes null).
    """

    columns: Drift = Drift.EVOLVE
    types: Drift = Drift.EVOLVE


@dataclass(frozen=True)
class Discovery:
    """What a source found out about its data: canonical schema, and estimates where they are cheap (None: unknown). `keys` are
    sets of columns by which the system finds at most one record, and quickly.
    """

    schema: pa.Schema
    rows: int | None = None
    bytes: int | None = None
    partitions: int | None = None
    keys: tuple[frozenset[str], ...] = ()
    doubts: tuple[Doubt, ...] = ()


@dataclass(frozen=True)
class SourcePart:
    """One of several tables that a source reads: its name and schema, the options that make a source of it alone, and the columns
    that tell its records apart (none where nothing does).
    """

    name: str
    schema: str | None
    options: Mapping[str, Any]
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Since:
    """The records that an incremental run looks at: `column` at least `floor` and less than `until`, and with `nulls` those
    without a value. The bounds are SQL texts of `data_type`; None is no bound.
    """

    column: str
    data_type: pa.DataType
    floor: str | None
    until: str | None
    nulls: bool


@dataclass(frozen=True)
class ReadRequest:
    """What the plan wants of a source.

    `schema` is the whole schema of the source (declared or discovered) in canonical types; `columns` those to read, in
    the schema's order. `declared` says that the user wrote the schema. `limit` ends each split early. `threads` is how
    many cores one read may use. `split_bytes` asks for splits of about that size where the engine has several workers;
    None asks for one split a file (or so). With `dictionaries`, text may come dictionary-encoded where it is stored so.
    Records outside `since` need not be read, where the system can tell them apart cheaply. `reached` are the positions up to
    which earlier runs have read a source that resumes, by partition; it is empty for the first run. With `takes`, a source that
    acknowledges takes messages for the run; without, it only looks, and leaves them to be had by others.
    """

    schema: pa.Schema
    columns: tuple[str, ...]
    contract: Contract = field(default_factory=Contract)
    declared: bool = False
    limit: int | None = None
    batch_bytes: int = BATCH_BYTES
    threads: int = 1
    split_bytes: int | None = None
    dictionaries: bool = False
    since: Since | None = None
    reached: Mapping[str, Any] = field(default_factory=dict)
    takes: bool = False

    @property
    def projected(self) -> pa.Schema:
        """The schema of the batches to produce."""
        return pa.schema([self.schema.field(name) for name in self.columns])


@dataclass(frozen=True)
class Split:
    """A part of a source that one worker reads: a file or a range of it; picklable. `detail` is the connector's own.

    Of a source that resumes, `reached` says up to which position the split reads which partitions: JSON values, which the next
    run gets once this one is through.
    """

    name: str
    start: int | None = None
    end: int | None = None
    detail: Any = None
    reached: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """Where the rows of a block came from. `first_row` counts from 0 within [byte_start, byte_end) of `file`."""

    file: str | None = None
    byte_start: int | None = None
    byte_end: int | None = None
    first_row: int = 0


@dataclass(frozen=True)
class Block:
    """A batch as it was read, and what of the block did not make it into the batch.

    A *position* counts the records of the block from 0, in their order, rejected ones included. `batch` has exactly
    `ReadRequest.projected`, but for dictionaries where those were asked for; `positions` gives the position of each of its
    rows (None: row i is record i). `rejected` is a kernels.rejection.REJECTION table whose `row` is a position.
    `originals(positions)` gives the original records with all their columns as JSON objects, or the raw text where a record
    could not be parsed; `lines(positions)` their 1-based line numbers in the file. Both are asked only for rejected records,
    before the next block is taken. `drifted` names columns of the data that the schema lacks. `taken` is a JSON value by which a
    source that acknowledges knows the block's messages again; None: there are none to acknowledge.
    """

    batch: pa.RecordBatch
    origin: Origin = field(default_factory=Origin)
    rejected: pa.Table | None = None
    positions: pa.Array | None = None
    originals: Callable[[Sequence[int]], list[str]] | None = None
    lines: Callable[[Sequence[int]], list[int | None]] | None = None
    drifted: tuple[str, ...] = ()
    taken: Any = None


@dataclass(frozen=True)
class Relation:
    """Records of a split that a step's query reads itself: `rows` of them, which `sql` selects in their order and in exactly the
    columns of `ReadRequest.projected` from the local `file`. `split` has the same records for `Source.read`, for when the query
    fails on one of them. `drifted` names columns of the data that the schema lacks.
    """

    sql: str
    rows: int
    file: str
    split: Split
    drifted: tuple[str, ...] = ()


class Finding(NamedTuple):
    """One thing that `check` looked at: what, whether it is fine, what was found, and what to do. What is not `needed` only some
    uses of the system miss.
    """

    what: str
    fine: bool
    detail: str
    hint: str | None = None
    needed: bool = True


Line = Finding | tuple[str, bool, str]


@dataclass(frozen=True)
class Report:
    """What `check` found."""

    lines: tuple[Line, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The lines, all in one form."""
        return tuple(Finding(*line) for line in self.lines)

    @property
    def fine(self) -> bool:
        """Whether nothing that is needed is wrong."""
        return all(found.fine or not found.needed for found in self.findings)


@dataclass(frozen=True)
class Partition:
    """A part of a source without end that one worker follows: a partition of a topic, a queue, a replication slot; picklable.

    `name` tells it from the others for as long as the source lives. `position` is where reading goes on, a JSON value of the
    connector's own: what comes next lies behind it. `detail` is the connector's own as well. `seam` is a later position up to
    which an earlier run has read: a follower of a source with `seams` says when it has reached it, and takes nothing across it.
    """

    name: str
    position: Any
    detail: Any = None
    seam: Any = None


@dataclass(frozen=True)
class Arrival:
    """What a follower took: a block (None: nothing came), and the position behind it, from which another follower can go on.

    `behind` tells how many records are known to wait behind that position; 0: the partition is caught up; None: nobody knows,
    which counts as caught up where nothing came. A position may move although nothing came: markers, records that are skipped.
    `at_seam`: all up to the partition's seam was taken now.
    """

    block: Block | None
    position: Any
    behind: int | None = None
    at_seam: bool = False


class Follower(ABC):
    """Follows one partition from its position on, on a worker, for as long as that worker has it. It is used by one thread at
    a time, not always the same. `ends`: there is an end, where it says that nothing is `behind`; what comes before may be of any
    time.
    """

    ends: ClassVar[bool] = False

    @abstractmethod
    def take(self, seconds: float, batch_bytes: int) -> Arrival:
        """What comes within `seconds`, in one block; sooner where about `batch_bytes` of it are there. Without seconds, what is
        there at once.

        What it reads ahead has to be bounded: a slow destination takes seldom. Raises ConnectorError.
        """

    def published(self, position: Any) -> None:  # noqa: B027 - a log need not be told
        """All up to `position`, and its position with it, is published for good: acknowledge it, let a group's offsets follow.

        May come late, seldom, again, or never: a source that needs it gives a record again that it was not told of. Raises
        ConnectorError, which ends the attempt and loses nothing.
        """

    @property
    def owes(self) -> bool:
        """Whether the system is still to be told of what was taken: a stream that ends publishes that first, and tells."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Let go of the partition: what was taken and not published is to be had again. Raises nothing."""


class Source(ABC):
    """One outside system to read from. Subclasses set Connection, Options, capabilities, examples."""

    name: ClassVar[str]
    Connection: ClassVar[type[Config]]
    """The settings and secrets that reach the system: what stands under `connection:`."""
    Options: ClassVar[type[Config]]
    """What to read and how: what stands beside `connection:`."""
    capabilities: ClassVar[SourceCapabilities] = SourceCapabilities()
    examples: ClassVar[tuple[Example, ...]] = ()
    whole_originals: ClassVar[bool] = True
    """Whether the originals of rejected records have all of a record's columns, not only those that the run read."""

    def __init__(self, connection: Any, options: Any) -> None:
        self.connection = connection
        self.options = options

    @abstractmethod
    def check(self) -> Report:
        """Can it be reached, and with what rights; raises nothing."""

    def reach(self) -> Report | None:
        """What the connection alone can tell, without the source's own options; None: nothing. Raises nothing."""
        return None

    @abstractmethod
    def discover(self) -> Discovery:
        """Find the schema by sampling. Raises ConnectorError."""

    def several(self) -> Sequence[SourcePart] | None:
        """The tables that the source reads, each with columns of its own; None: it is one. Raises ConnectorError."""
        return None

    def estimate(self) -> Discovery:
        """Rows and bytes of a source whose schema is declared, where they are cheaper to find than the schema (which may be
        left empty here).
        """
        return self.discover()

    def columns_seen(self, declared: pa.Schema) -> ColumnsSeen | None:
        """What a quick look tells of the columns of data whose schema is declared; None: nothing. Raises nothing."""
        return None

    def completed(self, declared: pa.Schema) -> pa.Schema:
        """The schema of a source whose columns the user declared: these, and what it adds to them. Raises InvalidValue."""
        return declared

    def datasets(self) -> tuple[DatasetName, ...]:
        """What it reads, as others call it; none where nobody else can reach it, as rows in a spec."""
        return ()

    @abstractmethod
    def splits(self, request: ReadRequest) -> Iterator[Split]:
        """The parts to read; runs on a worker, when the run starts. Raises ConnectorError."""

    @abstractmethod
    def read(self, split: Split, request: ReadRequest) -> Iterator[Block]:
        """Read one split, in order. Raises ConnectorError where the split as a whole cannot be read."""

    def hold(self, taken: Sequence[Any]) -> None:  # noqa: B027 - what nobody takes away need not be held
        """Make sure that the run still has the messages that it took; `taken` are those of its blocks. Called right before the
        destinations are published. Raises Transient where the system has given some to others meanwhile.
        """

    def relations(self, split: Split, request: ReadRequest) -> Sequence[Relation]:
        """The whole split as relations, each of a few times `request.batch_bytes`; none where it has to be read. Raises
        ConnectorError.
        """
        return ()

    def acknowledge(self, taken: Sequence[Any]) -> None:  # noqa: B027 - a log need not be told
        """Tell the system that these messages are published, so that it forgets them. Called once all destinations of the run
        are published, and again, also by another process, where that broke off. Raises ConnectorError, after which the next run
        tries again.
        """

    def partitions(self, request: ReadRequest) -> Iterator[Partition]:
        """What a stream follows, for a source that is `unbounded`; asked for again now and then, so that new ones are found.

        `request.reached` are the positions of those that were followed before: they go on from there, and new ones begin where a
        stream is to begin that finds them late. Each has a position, also where nothing was reached as yet: it is recorded
        before anything is read. Runs beside the launcher. Raises ConnectorError.
        """
        raise InvalidValue(f"'{self.name}' cannot be followed as a stream", hint="use it in integrations of type batch")

    def follow(self, partition: Partition, request: ReadRequest) -> Follower:
        """Follow one partition from its position on; called on a worker. Raises ConnectorError."""
        raise InvalidValue(f"'{self.name}' cannot be followed as a stream", hint="use it in integrations of type batch")

    def asks_by(self, column: str, data_type: pa.DataType) -> bool:
        """Whether `lookup` finds records by a column, which is of this type."""
        return False

    def lookup(self, keys: pa.Table, request: ReadRequest, *, timeout_seconds: float | None = None) -> Iterator[Block]:
        """The records that have one of `keys`: distinct rows of some columns, without nulls, in the schema's types.

        Blocks are as those of `read`; they may have more records than were asked for, never fewer. What a short outage breaks is
        tried again. Raises ConnectorError, Transient where an answer takes longer than `timeout_seconds`.
        """
        raise InvalidValue(f"'{self.name}' cannot be asked by keys", hint="use `lookup: whole` in the enrichment")

    def position(self, partition: str, text: str) -> Any:
        """The position that a user wrote for a partition of a source that resumes. Raises InvalidValue."""
        raise InvalidValue(f"'{self.name}' keeps no positions that can be set")

    def forget(self) -> list[str]:
        """Remove what the source keeps at its system for runs to come, such as a replication slot; says what that was.

        Raises ConnectorError.
        """
        return []

    def parts_of(self, file: str | None, originals: Sequence[str], schema: pa.Schema, folder: str) -> Sequence[Part]:
        """What gives rejected records of `file` again, by this source's rules, from their originals in the dead letter.

        May write files to `folder`. Originals that no part gives cannot be read again. A format whose originals are no JSON
        objects has its own.
        """
        from beam_datahub.component.originals import json_parts

        return json_parts(file, originals, folder)
