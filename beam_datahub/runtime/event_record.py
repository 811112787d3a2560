"""What a run's record adds to the outbox of the hub's events, and that they are sent once the run is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beam_datahub.runtime.event_bus import wanted_events
from beam_datahub.runtime.hub_events import ERRORS, of_failure, of_run
from beam_datahub.runtime.store_link import Call, later

if TYPE_CHECKING:
    from beam_datahub.runtime.record import RunFacts, RunRecord


def record_events(record: RunRecord) -> None:
    """Put what the run did into the outbox, in the transaction that records its end."""
    wanted = wanted_events()
    if wanted:
        record.calls.append(later("events.add", list(of_run(record.plan, record.result, record.facts, wanted))))


def failure_events(facts: RunFacts, failure: BaseException) -> list[Call]:
    """The calls that put a failure into the outbox, where somebody wants to hear of it."""
    return [later("events.add", [of_failure(facts, failure)])] if ERRORS in wanted_events() else []
