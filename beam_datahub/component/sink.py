"""The contract of a sink: plan the write, stage under the run's name, publish once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from beam_datahub.component.capabilities import SinkCapabilities, WriteMode
from beam_datahub.component.config import Config, Example
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.source import Report
from beam_datahub.component.subject import Held, Subject
from beam_datahub.errors import InvalidValue


@dataclass(frozen=True)
class WriteRequest:
    """What one run writes to one destination. `step` is the destination's id; `run_id` names the staging place.

    A stream commits again and again: `open` and `prepare` know of no `epoch`, `commit` is called with epoch 1, 2, 3 and so on,
    each with receipts of its own, which no other epoch has. Such a commit is done once for each (`run_id`, `step`, `epoch`), and
    leaves alone what else the run has staged. Epochs come in their order: once one is asked for, those before it are through for
    good. `abort` without an epoch removes all that is staged and was not committed.

    Where it `stays`, the process that stages is the one that commits, and where that dies nobody does: what is staged may lie in
    its memory or its temporary files (`component.held`).
    """

    run_id: str
    step: str
    schema: pa.Schema
    mode: WriteMode = WriteMode.APPEND
    key: tuple[str, ...] = ()
    epoch: int | None = None
    stays: bool = False

    @property
    def commit_name(self) -> str:
        """What tells this commit from all others to the same destination: the run's id, in a stream with the epoch."""
        return self.run_id if self.epoch is None else f"{self.run_id}.{self.epoch}"


@dataclass(frozen=True)
class Receipt:
    """What one bundle staged: where, how many rows and bytes. Only receipts of bundles that counted are committed."""

    location: str
    rows: int
    bytes: int = 0
    detail: Any = None


@dataclass(frozen=True)
class Returned:
    """Rows that a system refused while they were published: how many for which reason, and the file that holds them
    (`component.returned`). The file goes once they are in the dead letter.
    """

    location: str
    reasons: Mapping[str, int]

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(self.reasons.values())


@dataclass(frozen=True)
class Committed:
    """What a commit published: rows, bytes, and where a user finds them; and what it gave back, which `rows` does not count."""

    rows: int
    bytes: int
    locations: tuple[str, ...]
    returned: Returned | None = None


class Writer(ABC):
    """Stages the batches of one bundle."""

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> pa.Table | None:
        """Stage one batch; it has the schema of the request.

        A system that looks at single records stages those that it takes and gives the others, a kernels.rejection.REJECTION
        table whose `row` counts the rows of `batch`; its capabilities say `rejects`. None: all rows are staged.
        """

    @abstractmethod
    def close(self) -> Sequence[Receipt]:
        """Finish and say what was staged; nothing is visible to readers yet."""

    @abstractmethod
    def discard(self) -> None:
        """Remove what this writer staged; called when its bundle failed."""


class Sink(ABC):
    """One outside system to write to. Subclasses set Connection, Options, capabilities, examples."""

    name: ClassVar[str]
    Connection: ClassVar[type[Config]]
    Options: ClassVar[type[Config]]
    capabilities: ClassVar[SinkCapabilities] = SinkCapabilities()
    streams: ClassVar[bool] = False
    """Whether a run can be committed in many epochs (`WriteRequest.epoch`)."""
    examples: ClassVar[tuple[Example, ...]] = ()

    def __init__(self, connection: Any, options: Any) -> None:
        self.connection = connection
        self.options = options

    @abstractmethod
    def check(self) -> Report:
        """Can it be reached and written; raises nothing, leaves nothing behind."""

    def reach(self) -> Report | None:
        """What the connection alone can tell, without the destination's own options; None: nothing. Raises nothing."""
        return None

    def datasets(self) -> tuple[DatasetName, ...]:
        """What it writes, as others call it; none where nobody else can read it, as a terminal."""
        return ()

    @abstractmethod
    def plan_write(self, request: WriteRequest) -> None:
        """Refuse at `validate` what could not be kept. Raises LossyWrite or InvalidValue; touches nothing outside."""

    @abstractmethod
    def prepare(self, request: WriteRequest) -> None:
        """Before anything runs: prove that the target can be written, sweep what dead runs left. Raises TargetUnusable."""

    @abstractmethod
    def open(self, request: WriteRequest) -> Writer:
        """A writer for one bundle, on a worker."""

    @abstractmethod
    def commit(self, request: WriteRequest, receipts: Sequence[Receipt]) -> Committed:
        """Publish all receipts at once; called again after a failure, it changes nothing that it has done. An empty list
        publishes an empty result (overwrite: the target becomes empty, with the schema where the format has one).

        A system that looks at single records only now gives back those that it refuses (`Committed.returned`); its
        capabilities say `returns`.
        """

    @abstractmethod
    def abort(self, request: WriteRequest) -> None:
        """Remove all that the run staged; what was published before stays."""

    def find(self, request: WriteRequest, subject: Subject, take: Callable[[bytes], None] | None = None) -> Held:
        """The records of one person that are there; `take` gets them as the text of JSON lines.

        A sink that can says so in its capabilities (`erase`) and implements `erase` as well. Raises InvalidValue, ConnectorError.
        """
        raise InvalidValue(f"'{self.name}' cannot find single records", hint="look there with the system's own means")

    def erase(self, request: WriteRequest, subject: Subject) -> Held:
        """Remove the records of one person, all or none. Raises InvalidValue, ConnectorError."""
        raise InvalidValue(f"'{self.name}' cannot remove single records", hint="remove them with the system's own means")
