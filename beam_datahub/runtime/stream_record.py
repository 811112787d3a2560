"""What a stream records with each of its epochs: where its cursors are, and what it has done so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from beam_datahub.runtime.increments import moves
from beam_datahub.runtime.record import Recorder
from beam_datahub.runtime.store_link import later
from beam_datahub.runtime.stream_epochs import Keep
from beam_datahub.security import redact


def keeper(recorder: Recorder) -> Keep:
    """A function that moves the cursors of a stream and notes its books, in one transaction of the store."""
    facts = recorder.facts

    def keep(cursors: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        calls = list(moves(facts.integration, facts.run_id, cursors))
        if report:
            document = json.loads(redact(json.dumps(report, default=str)))
            calls.append(later("runs.keep", facts.run_id, "report", document))
        recorder.store.together(calls)

    return keep
