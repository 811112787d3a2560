"""Destinations of a plan: how they are written, and whether they can keep what comes."""

from __future__ import annotations

from beam_datahub.compiler.draft import DEAD_LETTER_STEP, VIOLATIONS_STEP, Draft
from beam_datahub.compiler.plan import Node, Write
from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.sink import Sink, WriteRequest
from beam_datahub.errors import DataHubError, InvalidValue, UnknownColumn
from beam_datahub.kernels.rejection import DEAD_LETTER, VIOLATION
from beam_datahub.spec import DeadLetterSpec, DestinationSpec


def add_destination(draft: Draft, spec: DestinationSpec) -> None:
    """Add a destination to the plan. Raises DataHubError."""
    kind = draft.component("sink", spec.connector, *spec.at, "connector")
    connection, options = draft.configs(kind, spec)
    sink: Sink = kind(connection, options)
    if len(spec.input) != 1:
        raise InvalidValue(f"a destination has one input, not {len(spec.input)}", hint="put a `union` step before it").at(
            draft.document.place(*spec.at, "input")
        )
    reference = draft.resolve(spec.input[0], (*spec.at, "input"))
    if reference is None:
        draft.broken.add(spec.id)
        return
    schema = draft.schema(reference)
    mode = _mode(draft, kind, spec)
    for key in spec.key:
        if key not in schema.names:
            raise UnknownColumn(key, schema.names).at(draft.document.place(*spec.at, "key"))
    request = WriteRequest(draft.options.run_id, spec.id, schema, mode, spec.key)
    sink.plan_write(request)
    if mode is WriteMode.OVERWRITE:
        _refuse_shared_target(draft, spec, sink)
    if spec.subject is not None:
        try:
            draft.registry(spec.subject).accept(spec.subject, schema, spec.id)
        except DataHubError as error:
            raise error.at(draft.document.place(*spec.at, "subject")) from error
    write = Write(spec.connector, sink, request, place=draft.document.place(*spec.at), subject=spec.subject)
    draft.nodes[spec.id] = Node(spec.id, spec.id, write, (reference,), schema, type=spec.connector)


def _refuse_shared_target(draft: Draft, spec: DestinationSpec, sink: Sink) -> None:
    """Of two destinations that replace the same file or table, only one would be left."""
    for node in draft.nodes.values():
        other = node.operator
        if isinstance(other, Write) and other.request.mode is WriteMode.OVERWRITE and _target(other.sink) & _target(sink):
            raise InvalidValue(
                f"'{node.id}' and '{spec.id}' overwrite the same place, where only one of them would be left",
                hint="put a `union` step before one destination, or write to another place",
            ).at(draft.document.place(*spec.at))


def _target(sink: Sink) -> frozenset[object]:
    """What a sink writes: its paths as they are, since folders of one data set may be written apart, or its data sets."""
    paths = getattr(sink.connection, "paths", ())
    return frozenset(path.rstrip("/") for path in paths) or frozenset(sink.datasets())


def _mode(draft: Draft, kind: type[Sink], spec: DestinationSpec) -> WriteMode:
    modes = kind.capabilities.write_modes
    if spec.write_mode is None:
        return modes[0]
    if spec.write_mode not in modes:
        raise InvalidValue(
            f"'{spec.connector}' cannot {spec.write_mode}", hint=f"it can {', '.join(mode.value for mode in modes)}"
        ).at(draft.document.place(*spec.at, "write_mode"))
    return WriteMode(spec.write_mode)


def add_dead_letter(draft: Draft) -> None:
    """Add the destination of rejected records."""
    spec: DeadLetterSpec | None = draft.spec.dead_letter
    if spec is None:
        if draft.options.dead_letter_folder is None:
            return
        spec = DeadLetterSpec(
            at=("dead_letter",),
            connector="jsonl",
            connection={"path": draft.options.dead_letter_folder + "/"},
            options={},
        )
    kind = draft.component("sink", spec.connector, *spec.at, "connector")
    connection, options = draft.configs(kind, spec)
    if kind.capabilities.returns:
        raise InvalidValue(
            f"the dead letter cannot go to '{spec.connector}', which may refuse a record itself",
            hint="write it to files, a database or a queue, from where another integration can send it on",
        ).at(draft.document.place(*spec.at, "connector"))
    sink: Sink = kind(connection, options)
    modes = kind.capabilities.write_modes
    mode = WriteMode.APPEND if WriteMode.APPEND in modes else modes[0]
    request = WriteRequest(draft.options.run_id, DEAD_LETTER_STEP, DEAD_LETTER, mode)
    sink.plan_write(request)
    write = Write(spec.connector, sink, request, dead_letter=True, place=draft.document.place(*spec.at))
    draft.nodes[DEAD_LETTER_STEP] = Node(DEAD_LETTER_STEP, DEAD_LETTER_STEP, write, (), DEAD_LETTER, type=spec.connector)


def add_violations(draft: Draft, folder: str) -> None:
    """Add the file of records that break quality rules."""
    kind = draft.component("sink", "jsonl")
    sink: Sink = kind(kind.Connection(path=folder + "/"), kind.Options())
    request = WriteRequest(draft.options.run_id, VIOLATIONS_STEP, VIOLATION, WriteMode.APPEND)
    sink.plan_write(request)
    write = Write("jsonl", sink, request, violations=True)
    draft.nodes[VIOLATIONS_STEP] = Node(VIOLATIONS_STEP, VIOLATIONS_STEP, write, (), VIOLATION, type="jsonl")
