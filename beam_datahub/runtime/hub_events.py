"""What the hub tells of itself: events in the form of CloudEvents 1.0, without secrets and without personal data."""

from __future__ import annotations

import inspect
import json
import logging
import uuid
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from beam_datahub.security import redact

if TYPE_CHECKING:
    import pyarrow as pa

    from beam_datahub.compiler.plan import Node, Plan, Read
    from beam_datahub.runtime.launch import RunResult
    from beam_datahub.runtime.record import RunFacts
    from beam_datahub.spec import Integration
    from beam_datahub.store.records import Run, RunEnd

LOGGER = logging.getLogger("beam_datahub.run")

CREATED, COMPLETED, VIOLATION = "integration.created", "sync.completed", "quality.violation"
RECEIVED, RAW, ERRORS = "data.received", "raw-data", "errors"
TYPES: Mapping[str, str] = {
    CREATED: "an integration was registered for the first time",
    COMPLETED: "a run came to its end and published what it had",
    VIOLATION: "a quality rule does not hold",
    RECEIVED: "what a source gave, with a sample of 5 records",
    RAW: "where the raw data lies that a run took from a source, and from where to where: no records",
    ERRORS: "a run failed",
}
SAMPLE_ROWS = 5
_SIGNS = 200
_HIDDEN = "***"

_TEXT = {"type": "string", "minLength": 1}
ENVELOPE: Mapping[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "An event of beam-datahub",
    "description": "CloudEvents 1.0 with the extensions of correlation, and of the aggregate that the event is about.",
    "type": "object",
    "required": [
        "specversion",
        "id",
        "type",
        "source",
        "time",
        "subject",
        "aggregatetype",
        "aggregateid",
        "correlationid",
        "data",
    ],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {**_TEXT, "description": "Tells the event from all others; one that is sent twice has the same."},
        "type": {**_TEXT, "description": f"One of {', '.join(TYPES)}, behind the bus's prefix and a dot."},
        "source": {**_TEXT, "description": "Who tells it."},
        "time": {"type": "string", "format": "date-time", "description": "When it happened."},
        "subject": {**_TEXT, "description": "What it is about: an integration, and its source or rule."},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {**_TEXT, "description": "The subject and the version of this schema."},
        "aggregatetype": {**_TEXT, "description": "What kind of thing it happened to: `integration`."},
        "aggregateid": {**_TEXT, "description": "The name of that thing."},
        "correlationid": {**_TEXT, "description": "The run that all began with: events of its replays have it as well."},
        "causationid": {**_TEXT, "description": "The run that led to the event."},
        "data": {"type": "object"},
    },
}


def event(
    kind: str,
    integration: str,
    data: Mapping[str, Any],
    *,
    about: str | None = None,
    correlation: str | None = None,
    causation: str | None = None,
) -> dict[str, Any]:
    """An event of an integration; `about` is the part of it that it is about. One without a correlation begins its own."""
    number = str(uuid.uuid4())
    found = {
        "specversion": "1.0",
        "id": number,
        "type": kind,
        "source": "/beam-datahub",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "subject": integration if about is None else f"{integration}/{about}",
        "datacontenttype": "application/json",
        "aggregatetype": "integration",
        "aggregateid": integration,
        "correlationid": correlation or number,
        **({"causationid": causation} if causation is not None else {}),
        "data": data,
    }
    shown: dict[str, Any] = json.loads(redact(json.dumps(found, default=str, ensure_ascii=False)))
    return shown


def of_registration(integration: Integration, version: int) -> dict[str, Any]:
    """An integration was registered."""
    data = {
        "integration": integration.name,
        "version": version,
        "type": integration.type,
        "sources": [{"name": each.name, "connector": each.connector} for each in integration.sources.values()],
        "destinations": [{"name": each.id, "connector": each.connector} for each in integration.destinations],
    }
    return event(CREATED, integration.name, data)


def of_run(plan: Plan, result: RunResult, facts: RunFacts, wanted: Collection[str]) -> Iterator[dict[str, Any]]:
    """What a run did that came to its end, or that its rules, its budget or its books stopped."""
    chain = {"correlation": facts.parent or facts.run_id, "causation": facts.run_id}
    name = facts.integration
    if result.error is None and COMPLETED in wanted:
        data = {
            **_run(facts),
            "status": result.status,
            "started_at": result.started_at,
            "seconds": result.seconds,
            "read": result.read,
            "rejected": result.rejected,
            "reasons": result.reasons,
            "destinations": [
                {"name": step, "rows": done["rows"], "bytes": done["bytes"]} for step, done in result.written.items()
            ],
        }
        yield event(COMPLETED, name, data, **chain)
    for rule in result.quality if VIOLATION in wanted else ():
        if not rule["passed"]:
            names = ("name", "type", "step", "severity", "action", "threshold", "checked", "failed", "ratio")
            yield event(VIOLATION, name, {**_run(facts), **{key: rule[key] for key in names}}, about=rule["name"], **chain)
    if result.error is not None:
        if ERRORS in wanted:
            yield event(ERRORS, name, {**_run(facts), **_kind(result.error), "reasons": result.reasons}, **chain)
        return
    for node, read in _reads(plan):
        rows = result.books.get(node.id, {}).get("read", 0)
        if not rows:
            continue
        data = {**_run(facts), "source": node.id, "connector": node.type, "rows": rows}
        if RAW in wanted:
            places = [{"namespace": each.namespace, "name": each.name} for each in read.source.datasets()]
            yield event(RAW, name, {**data, "datasets": places, **_span(read, result, node.id)}, about=node.id, **chain)
        if RECEIVED in wanted:
            yield event(RECEIVED, name, {**data, "sample": sample(plan, node, read)}, about=node.id, **chain)


def of_failure(facts: RunFacts, failure: BaseException) -> dict[str, Any]:
    """A run failed. What the error says may show values of the data, and stays in the run's record."""
    return event(
        ERRORS,
        facts.integration,
        {**_run(facts), **_kind(failure)},
        correlation=facts.parent or facts.run_id,
        causation=facts.run_id,
    )


def of_settled(run: Run, end: RunEnd) -> dict[str, Any]:
    """A run that had died while it published is complete now."""
    data = {
        "run": run.run_id,
        "integration": run.integration,
        "engine": run.engine,
        "kind": run.kind,
        "cause": run.cause,
        "status": end.status,
        "read": end.read,
        "rejected": end.rejected,
    }
    return event(COMPLETED, run.integration, data, correlation=run.parent or run.run_id, causation=run.run_id)


def _run(facts: RunFacts) -> dict[str, Any]:
    return {
        "run": facts.run_id,
        "integration": facts.integration,
        "engine": facts.engine,
        "kind": facts.kind,
        "cause": facts.cause,
    }


def _kind(failure: BaseException) -> dict[str, Any]:
    from beam_datahub.errors import DataHubError

    if not isinstance(failure, DataHubError):
        return {"code": "DH900", "error": type(failure).__name__}
    meaning = (inspect.getdoc(type(failure)) or "").partition("\n\n")[0]
    return {"code": failure.code, "error": type(failure).__name__, "meaning": " ".join(meaning.split())}


def _reads(plan: Plan) -> Iterator[tuple[Node, Read]]:
    from beam_datahub.compiler.plan import Read

    for node in plan.reads():
        if isinstance(node.operator, Read):
            yield node, node.operator


def _span(read: Read, result: RunResult, source: str) -> dict[str, Any]:
    """From where to where a log was read, by partition; values of columns are not told."""
    if not read.source.capabilities.resumes:
        return {}
    parts = result.cursors.get(source, {}).get("parts", {})
    return {
        "from": dict(read.request.reached),
        "to": {name: (part["value"] or {}).get("last") for name, part in parts.items()},
    }


def sample(plan: Plan, node: Node, read: Read) -> list[dict[str, Any]]:
    """The first records that a source gives from where a run began, personal data masked; of a queue, none."""
    # A queue has let its messages go, and a database the changes in its log.
    if read.request.takes or node.type.endswith("_cdc"):
        return []
    try:
        return _rows(_masked(plan, node, _first(read)))
    except Exception as failure:
        LOGGER.debug("no sample of %s: %s", node.id, failure)
        return []


def _first(read: Read) -> pa.Table:
    import pyarrow as pa

    from beam_datahub.compiler.increment import new_of
    from beam_datahub.compiler.sampling import sampled
    from beam_datahub.component.source import Block
    from beam_datahub.kernels.increment import Taking

    found = sampled(read, SAMPLE_ROWS)
    if read.increment is None:
        return found.slice(0, SAMPLE_ROWS)
    taking, columns = Taking(read.increment), read.columns or read.request.columns
    new = [new_of(Block(batch), taking, read.increment, columns)[0].batch for batch in found.to_batches()]
    return pa.Table.from_batches(new).slice(0, SAMPLE_ROWS) if new else found.slice(0, 0)


def _masked(plan: Plan, node: Node, found: pa.Table) -> pa.Table:
    from beam_datahub.compiler.clearance import PERSONAL
    from beam_datahub.compiler.discretion import masks_of
    from beam_datahub.kernels.types import literal, quoted
    from beam_datahub.kernels.workbench import over
    from beam_datahub.security.personal_data import find_personal_data

    tags = (plan.metadata.get(PERSONAL) or {}).get(node.id, {})
    masks = masks_of(tags, found.schema)
    # What nobody has declared may be personal data all the same.
    for each in find_personal_data(found):
        name = each.column if each.column in found.schema.names else each.column.partition(".")[0]
        if name in found.schema.names and not tags.get(name):
            masks.setdefault(name, f"CASE WHEN {quoted(name)} IS NOT NULL THEN {literal(_HIDDEN)} END")
    if not masks or not found.num_rows:
        return found
    chosen = ", ".join(f"{masks[name]} AS {quoted(name)}" if name in masks else quoted(name) for name in found.schema.names)
    return over(found, f"SELECT {chosen} FROM t")


def _rows(found: pa.Table) -> list[dict[str, Any]]:
    from beam_datahub.component.arrow_blocks import as_json
    from beam_datahub.kernels.session import single_batch

    batch = single_batch(found)
    return [_short(json.loads(text)) for text in as_json(batch, list(range(batch.num_rows)))]


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _SIGNS else value[: _SIGNS - 1] + "…"
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return [_short(each) for each in value] if isinstance(value, list) else value


def addressed(document: Mapping[str, Any], prefix: str, schema: str) -> dict[str, Any]:
    """An event as it is sent: its type behind the bus's prefix, and where its schema is."""
    return {**document, "type": f"{prefix}.{document['type']}", "dataschema": schema}


__all__ = [
    "COMPLETED", "CREATED", "ENVELOPE", "ERRORS", "RAW", "RECEIVED", "TYPES", "VIOLATION", "addressed", "event", "of_failure",
    "of_registration", "of_run", "of_settled", "sample",
]  # fmt: skip
