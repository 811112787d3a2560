"""Where the records of a person may be: the destinations of integrations, their dead letters, and what runs left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from beam_datahub.compiler.build import BuildOptions, build, connected
from beam_datahub.compiler.origins import column_origins
from beam_datahub.compiler.plan import Plan, Read, Write
from beam_datahub.compiler.subject_trace import SubjectKey, Traces, trace
from beam_datahub.component.registry import component
from beam_datahub.component.sink import Sink, WriteRequest
from beam_datahub.component.subject import Subject
from beam_datahub.errors import ConnectorError, DataHubError, ErrorGroup, UnknownColumn
from beam_datahub.kernels.rejection import DEAD_LETTER, VIOLATION

if TYPE_CHECKING:
    from beam_datahub.runtime.store_link import StoreLink
    from beam_datahub.spec import SpecDocument
    from beam_datahub.store.records import Run


@dataclass(frozen=True)
class Place:
    """A place where records of the subject may be, and what came of looking there.

    `role`: destination, dead_letter, violations, run_records or integration (one that cannot be looked through). `state`:
    nothing (there are none), found, erased, kept (they cannot be removed), failed, unsearchable (nobody can tell by its columns)
    or unrelated. `columns` are those that tell the subject, `unknown` maps those that hold it in a form that does not.
    """

    integration: str
    name: str
    role: str
    connector: str = ""
    where: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    state: str = "nothing"
    found: int = 0
    erased: int = 0
    uncertain: int = 0
    reason: str | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether nothing of the subject is left there that anybody knows of, or could have looked for."""
        return self.state in ("nothing", "found", "erased", "unrelated") and not self.uncertain


@dataclass(frozen=True)
class Target:
    """A place to look through: its sinks with what each is asked. `letters` tells how a dead letter is read back."""

    place: Place
    sinks: tuple[tuple[Sink, WriteRequest], ...]
    subject: Subject
    letters: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Search:
    """Who is looked for. `parse` gives `column` and `value` of each key; `mentions` as in Subject."""

    keys: tuple[tuple[str, str], ...]
    run_id: str
    mentions: bool = False


def targets(
    documents: Sequence[SpecDocument],
    search: Search,
    store: StoreLink | None,
    dead_letter_folder: Callable[[SpecDocument], str],
) -> list[Target | Place]:
    """What is to be looked through, and what cannot be. Raises UnknownColumn where no integration has such a column."""
    found: list[Target | Place] = []
    seen: set[tuple[str, str]] = set()
    known: dict[str, None] = {}
    fits = False
    for document in documents:
        name = document.integration.name
        runs = store.reader.runs.find(integration=name) if store is not None else []
        options = BuildOptions(
            run_id=search.run_id, dead_letter_folder=dead_letter_folder(document), guards_personal_data=False, threads=1
        )
        try:
            plan = _built(document, options, store, runs)
            known |= dict.fromkeys(column for node in plan if isinstance(node.operator, Read) for column in node.schema.names)
            keys = _keys(plan, search)
            fits = fits or bool(keys)
            if not keys:
                continue
            traces = trace(plan, keys)
        except DataHubError as error:
            fits = True
            found.append(Place(name, name, "integration", state="failed", reason=_reason(error)))
            continue
        everywhere = _everywhere(keys, traces)
        for each in [*_destinations(plan, keys, traces), *_asides(plan, everywhere, search, store, runs)]:
            place = each.place if isinstance(each, Target) else each
            pairs = each.subject.pairs if isinstance(each, Target) else place.columns
            mark = (place.role, json.dumps([place.connector, place.where or [name, place.name], pairs]))
            if mark not in seen:
                seen.add(mark)
                found.append(each)
    if not fits:
        raise UnknownColumn(search.keys[0][0], list(known))
    return found


def _reason(error: DataHubError) -> str:
    return "; ".join(each.reason for each in error.errors) if isinstance(error, ErrorGroup) else error.reason


def _built(document: SpecDocument, options: BuildOptions, store: StoreLink | None, runs: Sequence[Run]) -> Plan:
    """The plan; a source that cannot be reached any more is taken to have the columns of the last run."""
    try:
        return build(document, options)
    except DataHubError:
        if store is None or not runs:
            raise
        wiring = next((found for run in runs if "nodes" in (found := store.reader.runs.document(run.run_id, "plan") or {})), None)
        if wiring is None:
            raise
        sources = dict(document.integration.sources)
        for name, spec in sources.items():
            columns = (wiring["nodes"].get(name) or {}).get("columns")
            if columns and spec.columns is None and spec.subject is None and not _is_there(document, name):
                sources[name] = spec.model_copy(update={"columns": columns})
        return build(document.changed(sources=sources), options)


def _is_there(document: SpecDocument, source: str) -> bool:
    try:
        connected(document, document.integration.sources[source]).discover()
    except ConnectorError:
        return False
    return True


def _keys(plan: Plan, search: Search) -> list[SubjectKey]:
    """The keys as the plan has them: `email` of any source or destination, `people.email` of one source."""
    bare = {column for node in plan if isinstance(node.operator, Read | Write) for column in node.schema.names}
    found = []
    for name, value in search.keys:
        if name in bare:
            found.append(SubjectKey(name, value))
            continue
        source, _, column = name.partition(".")
        node = plan.nodes.get(source)
        if node is not None and isinstance(node.operator, Read) and column in node.schema.names:
            found.append(SubjectKey(column, value, source))
    return found


def _everywhere(keys: Sequence[SubjectKey], traces: Mapping[str, Traces]) -> tuple[tuple[str, str], ...]:
    """All columns of all steps that hold the subject, with its value: rejected records have the columns of any step."""
    given = ((key.column, key.value) for key in keys)
    return tuple(dict.fromkeys([*given, *(pair for each in traces.values() for pair in each.pairs)]))


def _destinations(plan: Plan, keys: Sequence[SubjectKey], traces: Mapping[str, Traces]) -> Iterator[Target | Place]:
    origins = column_origins(plan)
    for node in plan.writes():
        write = node.operator
        assert isinstance(write, Write)
        if write.dead_letter or write.violations:
            continue
        told = traces[node.id]
        pairs = list(told.pairs)
        traced = {name for name, _ in pairs} | set(told.unknown or ())
        pairs += [
            (k.column, k.value) for k in keys if k.source is None and k.column in node.schema.names and k.column not in traced
        ]
        place = Place(
            plan.name,
            node.id,
            "destination",
            write.connector,
            tuple(dataset.name for dataset in write.sink.datasets()),
            tuple(dict.fromkeys(name for name, _ in pairs)),
            unknown=dict(told.unknown or {}),
        )
        if not place.where and not write.sink.capabilities.erase:
            yield replace(place, state="unrelated", reason="what is written there is not kept")
        elif pairs and write.sink.capabilities.erase:
            yield Target(place, ((write.sink, write.request),), Subject(keys[0].value, (), others=tuple(pairs)))
        elif pairs:
            reason = f"'{write.connector}' cannot find or remove single records: use the system's own means"
            yield replace(place, state="kept", reason=reason)
        elif told.unknown:
            reason = "; ".join(f"{name}: {why}" for name, why in told.unknown.items())
            yield replace(place, state="unsearchable", reason=reason)
        else:
            sources = {source for source, column in _key_columns(plan, keys)}
            others = [name for name, origin in origins[node.id].items() if sources & {source for source, _ in origin.sources}]
            reason = "none of its columns comes from " + " or ".join(dict.fromkeys(key.column for key in keys))
            more = f"; of {', '.join(sorted(sources))} it has {', '.join(others)}" if others else ""
            yield replace(place, state="unrelated", reason=reason + more)


def _key_columns(plan: Plan, keys: Sequence[SubjectKey]) -> Iterator[tuple[str, str]]:
    for node in plan.reads():
        yield from ((node.id, k.column) for k in keys if k.column in node.schema.names and k.source in (None, node.id))


def _asides(
    plan: Plan, pairs: tuple[tuple[str, str], ...], search: Search, store: StoreLink | None, runs: Sequence[Run]
) -> Iterator[Target | Place]:
    """The dead letters, those of earlier runs as well, and the violations."""
    inside = Subject(search.keys[0][1], (), inside="original", others=pairs, mentions=search.mentions)
    places: dict[str, Mapping[str, Any]] = {}
    known_sinks: dict[str, Sink] = {}
    for node in plan.writes():
        if isinstance(node.operator, Write) and node.operator.dead_letter:
            sink = node.operator.sink
            known: Mapping[str, Any] = {
                "connector": node.operator.connector,
                "connection": sink.connection.model_dump(mode="json"),
                "options": sink.options.model_dump(mode="json", exclude_defaults=True),
            }
            places[_identity(known)], known_sinks[_identity(known)] = known, sink
    for run in runs:
        assert store is not None
        kept = (store.reader.runs.document(run.run_id, "plan") or {}).get("dead_letter")
        if kept is not None:
            places.setdefault(_identity(kept), kept)
    request = WriteRequest(search.run_id, "dead_letter", DEAD_LETTER)
    for mark, each in places.items():
        yield _dead_letter(plan.name, each, request, inside, known_sinks.get(mark))
    folders = [os.path.join(run.folder, "violations") for run in runs if run.folder]
    folders = [folder for folder in folders if os.path.isdir(folder)]
    if folders:
        request = WriteRequest(search.run_id, "violations", VIOLATION)
        kind: Any = component("sink", "jsonl")
        sinks = tuple((kind(kind.Connection(path=folder + "/"), kind.Options()), request) for folder in folders)
        place = Place(plan.name, "violations", "violations", "jsonl", tuple(folders))
        yield Target(place, sinks, replace(inside, inside="record"))


def _identity(known: Mapping[str, Any]) -> str:
    return json.dumps([known["connector"], known["connection"].get("path") or known["connection"]], sort_keys=True, default=str)


def _dead_letter(
    integration: str, known: Mapping[str, Any], request: WriteRequest, subject: Subject, sink: Sink | None
) -> Target | Place:
    place = Place(integration, "dead_letter", "dead_letter", str(known["connector"]), columns=("original",))
    try:
        if sink is None:
            kind: Any = component("sink", str(known["connector"]))
            sink = kind(kind.Connection.model_validate(known["connection"]), kind.Options.model_validate(known["options"]))
        assert sink is not None
        place = replace(place, where=tuple(dataset.name for dataset in sink.datasets()))
    except (DataHubError, ValueError) as error:
        reason = error.reason if isinstance(error, DataHubError) else "its settings are not known any more"
        return replace(place, state="failed", reason=reason)
    if not sink.capabilities.erase:
        if not place.where:
            return replace(place, state="unrelated", reason="what is written there is not kept")
        reason = f"'{place.connector}' cannot find or remove single records: use the system's own means"
        return replace(place, state="kept", reason=reason)
    return Target(place, ((sink, request),), subject, letters=known)
