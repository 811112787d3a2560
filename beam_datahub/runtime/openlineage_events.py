"""Tells the outside of a run in OpenLineage's words: a file or a server gets its events, and a dead one never fails the run."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from beam_datahub.compiler.plan import Plan, Read, Write
from beam_datahub.component.capabilities import WriteMode
from beam_datahub.errors import Interrupted, MissingDependency
from beam_datahub.security import redact

if TYPE_CHECKING:
    from beam_datahub.lineage.openlineage import JobFacts, RunFacts
    from beam_datahub.runtime.launch import RunResult
    from beam_datahub.spec import SpecDocument

_SECONDS = 5.0
# A server that is away for a moment gets a second and a third chance, and the run waits no longer than that.
_RETRIES = {"total": 2, "connect": 2, "read": 1, "backoff_factor": 0.2}
_ENDPOINT = "api/v1/lineage"
# A run that lasts longer than the first says that it is running, and again whenever as long as the second is over.
RUNNING_SECONDS = (10.0, 60.0)


def openlineage_target(given: str | None) -> str | None:
    """Where events go: what the user names (a URL or a file), else OPENLINEAGE_URL; None: nowhere."""
    if given is not None:
        return given
    disabled = os.environ.get("OPENLINEAGE_DISABLED", "").strip().lower() == "true"
    return None if disabled else os.environ.get("OPENLINEAGE_URL") or None


class OpenLineageEvents:
    """The events of one run. The first is sent while the run begins, the last when it has ended, some between if it is long.

    `target` is an http(s) URL, of a server or with the whole endpoint, or a file, to which one line an event is added.
    Raises MissingDependency where the client is not installed. `problem` tells afterwards why an event did not arrive.
    """

    def __init__(self, target: str, plan: Plan, document: SpecDocument, run_id: str) -> None:
        try:
            import openlineage.client  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingDependency(
                "OpenLineage events need the module 'openlineage-python'", hint="pip install 'beam-datahub[openlineage]'"
            ) from error
        self.problem: str | None = None
        self._target, self._plan, self._document, self._run_id = target, plan, document, run_id
        self._began = datetime.now(UTC)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._begin, name="openlineage", daemon=True)
        self._thread.start()

    def _begin(self) -> None:
        """Send the first event, and those of a run that lasts; none more to a place that does not take them."""
        self._send("START")
        wait, then = RUNNING_SECONDS
        while self.problem is None and not self._ended.wait(wait):
            self._send("RUNNING", _so_far(self._plan))
            wait = then

    def finish(self, result: RunResult | None, failure: BaseException | None = None) -> None:
        """Send the last event: COMPLETE, FAIL with the message, or ABORT for a run that was stopped."""
        self._ended.set()
        self._thread.join()
        from beam_datahub.lineage.openlineage import RunFacts

        error = failure if failure is not None else result.error if result is not None else None
        stopped = isinstance(error, Interrupted | KeyboardInterrupt)
        state = "ABORT" if stopped else "COMPLETE" if error is None else "FAIL"
        message = None if error is None else str(error) or type(error).__name__
        facts = RunFacts(error=message) if result is None else run_facts(self._plan, result, message)
        self._send(state, facts)

    def _send(self, state: str, facts: RunFacts | None = None) -> None:
        try:
            from beam_datahub.lineage.openlineage import run_event

            when = self._began if state == "START" else None
            from beam_datahub.lineage.tracing import lineage_of

            lineage = lineage_of(self._plan, run_id=self._run_id)
            event = run_event(state, lineage, self._run_id, self._began, job_facts(self._document), facts, when=when)
            transport = _transport(self._target)
            transport.emit(event)
            transport.close(1.0)
        except Exception as error:
            # Whoever watches runs must not be able to break them.
            self.problem = self.problem or redact(f"no OpenLineage event reached {_shown(self._target)}: {_reason(error)}")


def job_facts(document: SpecDocument) -> JobFacts:
    """What events tell of the integration in a document."""
    import apache_beam

    from beam_datahub.lineage.openlineage import JobFacts

    spec = document.integration
    queries = [step.config.get("query") for step in spec.transformations if step.type == "sql"]
    queries += [source.options.get("query") for source in spec.sources.values()]
    code = document.path.read_text("utf-8", errors="replace") if document.path is not None else None
    asked = tuple(each for each in queries if isinstance(each, str))
    return JobFacts(spec.description, code, asked, apache_beam.__version__, streaming=spec.type != "batch")


def _so_far(plan: Plan) -> RunFacts:
    """How much has been read by now, where the run is one of this process; nothing is written before all of it is through."""
    from beam_datahub.component.progress import PROGRESS
    from beam_datahub.lineage.openlineage import RunFacts

    counts = PROGRESS.snapshot()
    found = {node.id: counts.get((node.id, "read"), 0) for node in plan.reads()}
    return RunFacts({name: {"rows": rows} for name, rows in found.items() if rows})


def run_facts(plan: Plan, result: RunResult, error: str | None) -> RunFacts:
    """What the last event tells of what a run did."""
    from beam_datahub.lineage.openlineage import RunFacts

    read = {node.id: {"rows": result.books[node.id]["read"]} for node in plan.reads() if node.id in result.books}
    written = {name: _written(each) for name, each in result.written.items()}
    replaced = [
        node.id
        for node in plan.writes()
        if isinstance(node.operator, Write) and node.operator.request.mode is WriteMode.OVERWRITE and node.id in written
    ]
    return RunFacts(read, written, frozenset(replaced), _assertions(plan, result), _metrics(result), error)


def _assertions(plan: Plan, result: RunResult) -> dict[str, list[dict[str, Any]]]:
    """The verdicts of quality rules, by the source or destination that they are about."""
    sources = {node.id for node in plan.reads()}
    fields = {rule.name: getattr(rule.test, "column", None) for rule in plan.rules}
    found: dict[str, list[dict[str, Any]]] = {}
    for each in result.quality:
        facts = {
            "assertion": each["type"],
            "success": each["passed"],
            "column": fields.get(each["name"]),
            "severity": each["severity"],
            "name": each["name"],
            "description": each["description"],
            "expected": each["threshold"],
            "actual": each["outcome"],
        }
        # OpenLineage has assertions on inputs only: a rule of a step speaks of the sources that the step comes from.
        ends = [each["step"]] if each["step"] in sources else upstream_sources(plan, each["step"])
        for end in ends:
            found.setdefault(end, []).append({name: value for name, value in facts.items() if value is not None})
    return found


def upstream_sources(plan: Plan, reference: str) -> list[str]:
    """The sources that a step, a branch or a destination comes from."""
    found: dict[str, None] = {}
    waiting = [reference]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        try:
            node = plan.node(name)
        except KeyError:
            continue
        if node.id in seen:
            continue
        seen.add(node.id)
        if isinstance(node.operator, Read):
            found[node.id] = None
        waiting += node.inputs
    return list(found)


def _metrics(result: RunResult) -> dict[str, dict[str, Any]]:
    """Column profiles as OpenLineage's metrics: counts always, extremes and quantiles of numbers."""
    return {step: {"rows": each.get("rows"), "columns": dict(_columns(each))} for step, each in result.profiles.items()}


def _columns(profile: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, each in profile.get("columns", {}).items():
        metrics = {"nullCount": each.get("nulls"), "distinctCount": each.get("distinct"), "count": each.get("rows")}
        metrics |= {key: each.get(key) for key in ("min", "max", "sum")}
        numbers: dict[str, Any] = {
            key: value for key, value in metrics.items() if isinstance(value, int | float) and not isinstance(value, bool)
        }
        quantiles = each.get("quantiles")
        if isinstance(quantiles, Mapping):
            shares = {str(share): float(v) for share, v in quantiles.items() if isinstance(v, int | float)}
            numbers |= {"quantiles": shares} if shares else {}
        yield name, numbers


def _written(done: Mapping[str, Any]) -> dict[str, int]:
    facts = {"rows": int(done["rows"]), "bytes": int(done["bytes"]), "files": len(done["locations"])}
    return {name: value for name, value in facts.items() if name == "rows" or value}


def _transport(target: str) -> Any:
    if not target.startswith(("http://", "https://")):
        from openlineage.client.transport.file import FileConfig, FileTransport

        path = Path(target.removeprefix("file://"))
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileTransport(FileConfig(log_file_path=str(path), append=True))
    from openlineage.client.transport.http import HttpConfig, HttpTransport

    # It would tell of every attempt; what came of them is told once.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    url = urlsplit(target)
    endpoint = url.path.strip("/") or os.environ.get("OPENLINEAGE_ENDPOINT") or _ENDPOINT
    base = f"{url.scheme}://{url.netloc}"
    config: dict[str, Any] = {"url": base, "endpoint": endpoint, "timeout": _SECONDS, "retry": _RETRIES}
    if key := os.environ.get("OPENLINEAGE_API_KEY"):
        config["auth"] = {"type": "api_key", "apiKey": key}
    return HttpTransport(HttpConfig.from_dict(config))


def _shown(target: str) -> str:
    """The target without a password in its URL."""
    url = urlsplit(target)
    return target if "@" not in url.netloc else url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()


def _reason(error: BaseException) -> str:
    """The innermost message of a chain: the client wraps what the system said."""
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return f"{error.strerror}" if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
