"""How a stream is to run, and where it stands meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from beam_datahub.runtime.launch import RunRequest
from beam_datahub.runtime.stream_epochs import Keep
from beam_datahub.spec import EventTimeSpec, StreamSpec


@dataclass(frozen=True)
class StreamState:
    """Where a stream stands: `behind` are the records that are known to wait in the source, `waiting` those that were read and
    are not published, `watermark` is the time (UTC) up to which all partitions have told what happened.
    """

    seconds: float = 0.0
    epoch: int = 0
    attempt: int = 0
    read: int = 0
    rejected: int = 0
    waiting: int = 0
    behind: int | None = None
    watermark: datetime | None = None
    written: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StreamRequest:
    """How to run a stream. `keep` records, in one transaction, where the cursors go and what the stream has done so far; it
    raises where that cannot be. The stream ends by itself after `seconds`, with `until_idle` once it has caught up, or when
    `stop` says so; SIGINT and SIGTERM end it as well, the second one at once. `earlier` are runs of the same integration that
    have died, and may have left a job on a cluster.
    """

    run: RunRequest
    spec: StreamSpec = field(default_factory=StreamSpec)
    event_times: Mapping[str, EventTimeSpec] = field(default_factory=dict)
    keep: Keep | None = None
    seconds: float | None = None
    until_idle: bool = False
    show: Callable[[StreamState], None] | None = None
    stop: Callable[[], bool] | None = None
    earlier: tuple[str, ...] = ()
