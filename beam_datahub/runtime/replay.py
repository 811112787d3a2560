"""Sends the rejected records of a run through its (mended) integration once more, each of them once.

A replay is a run in which the sources of the rejected records give just these, all other sources whose rows would reach a
destination give nothing, and sources that are only looked up are read as usual. A record goes to the destinations behind the
step that had rejected it: on its other ways through the integration it has arrived already.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from beam_datahub.compiler.ending import EndingSource
from beam_datahub.compiler.increment import with_increment
from beam_datahub.compiler.passes.columns import prune_columns
from beam_datahub.compiler.plan import Node, Plan, Read, Write, is_aside
from beam_datahub.component.capabilities import WriteMode
from beam_datahub.component.file_store import local_path
from beam_datahub.component.files import DataFile, FileSource
from beam_datahub.component.originals import NoRecords, Replayed, Wanted
from beam_datahub.component.source import Source, Split
from beam_datahub.errors import DataHubError, NotReplayable
from beam_datahub.kernels.rejection import RECORD
from beam_datahub.runtime.wiring import before, reached, reached_besides, upstream, whole_run

BEHIND_SHUFFLE = "rejected where rows of several records had met: there is no single record to send again"
OF_OTHER_ROWS = "rejected after a step had made several rows of the record: the others have been written"
OTHER_WAY = "it has reached the same destination on another way through the integration"
LOOKED_UP = "its source is only looked up by the rows of another one: run the integration again"
NO_SOURCE = "its source is not in the integration any more"
GONE_DESTINATION = "the destination that it was on its way to is not in the integration any more"
NO_DESTINATION = "no destination of the integration lies behind the step that rejected it"
FILE_CHANGED = "only its file has the whole record, and that is gone or was changed after the run"
UNREADABLE = "its original alone cannot be read: it is not whole, or how its columns are called is not known"
_CUT = "…"


@dataclass(frozen=True)
class Finished:
    """The run whose records are replayed: when it began, its wiring, and which of its steps made several rows of one."""

    run_id: str
    started_at: datetime
    wiring: Mapping[str, Any]
    multiplied: frozenset[str] = frozenset()
    overwritten_by: str | None = None
    """A later run that has replaced what the destinations in overwrite mode held."""


@dataclass(frozen=True)
class Rejected:
    """A record of a source that was rejected, at one step or several of them; `id` tells it from the others of its run."""

    id: str
    source: str
    file: str | None
    line: int | None
    byte_start: int | None
    byte_end: int | None
    row: int
    original: str
    is_whole: bool
    steps: tuple[str, ...]
    letters: int


@dataclass
class Selection:
    """The records to replay, by the destinations that they go to, and why others cannot be, with how many letters each."""

    groups: dict[frozenset[str], list[Rejected]] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    already: int = 0

    @property
    def records(self) -> int:
        """How many records are replayed."""
        return sum(len(records) for records in self.groups.values())


def identity(letter: Mapping[str, Any], occurrence: int) -> str:
    """What tells a rejected record from the others of its run, also in another process at another time."""
    place = [letter[name] for name in ("source", "file", "byte_start", "byte_end", "row")]
    return hashlib.sha256(json.dumps([*place, occurrence]).encode()).hexdigest()[:32]


def select(letters: pa.Table, finished: Finished, plan: Plan, replayed: Collection[str] = ()) -> Selection:
    """The records behind `letters` that can be replayed through `plan`, without those whose ids are in `replayed`."""
    found = Selection()
    ways: dict[tuple[str, tuple[str, ...]], tuple[frozenset[str], str | None]] = {}
    for record in _records(letters.to_pylist(), found.refused):
        if record.id in replayed:
            found.already += record.letters
            continue
        key = (record.source, record.steps)
        if key not in ways:
            ways[key] = _way(*key, finished, plan)
        goals, reason = ways[key]
        if reason is not None:
            found.refused[reason] += record.letters
        else:
            found.groups.setdefault(goals, []).append(record)
    return found


def _records(letters: Iterable[dict[str, Any]], refused: Counter[str]) -> list[Rejected]:
    """One entry for each record; a record that several steps rejected has a letter of each."""
    seen: Counter[tuple[Any, ...]] = Counter()
    found: dict[str, list[dict[str, Any]]] = {}
    for letter in letters:
        if letter["source"] is None or letter["row"] is None:
            refused[BEHIND_SHUFFLE] += 1
            continue
        place = tuple(letter[name] for name in ("source", "file", "byte_start", "byte_end", "row"))
        # A source that does not number its records gives several of them the same place.
        key = (*place, letter["step"])
        found.setdefault(identity(letter, seen[key]), []).append(letter)
        seen[key] += 1
    return [_record(name, parts) for name, parts in found.items()]


def _record(name: str, letters: Sequence[Mapping[str, Any]]) -> Rejected:
    whole = next((letter for letter in letters if _is_whole(letter)), None)
    best = whole or letters[0]
    return Rejected(
        name,
        best["source"],
        best["file"],
        next((letter["line"] for letter in letters if letter["line"] is not None), None),
        best["byte_start"],
        best["byte_end"],
        best["row"],
        best["original"] or "",
        whole is not None,
        tuple(dict.fromkeys(str(letter["step"]) for letter in letters)),
        len(letters),
    )


def _is_whole(letter: Mapping[str, Any]) -> bool:
    """Whether the letter's original is all of the record: not a step's row, not text with lost bytes, not the head alone."""
    original = letter["original"] or ""
    return letter["form"] == RECORD and letter["reason"] != "encoding" and not original.endswith(_CUT) and bool(original)


def _way(source: str, steps: Sequence[str], finished: Finished, plan: Plan) -> tuple[frozenset[str], str | None]:
    """The destinations that the records of a source which these steps rejected go to, or why they cannot."""
    nothing: frozenset[str] = frozenset()
    node = plan.nodes.get(source)
    if node is None or not isinstance(node.operator, Read):
        return nothing, NO_SOURCE
    document = finished.wiring
    if any(finished.multiplied & before(document, step) for step in steps):
        return nothing, OF_OTHER_ROWS
    there = {each.id for each in plan.writes() if not is_aside(each.operator)}
    if source not in upstream(plan, there)[0]:
        return nothing, LOOKED_UP
    ways = {goal for step in steps for goal in reached(document, step)}
    if ways and not ways & there:
        return nothing, GONE_DESTINATION
    goals = ways & there
    # A step of a lookup rejects records that no destination gets.
    goals = {goal for goal in goals if source in upstream(plan, [goal])[0]}
    if not goals:
        return nothing, NO_DESTINATION
    if goals & reached_besides(document, steps):
        return nothing, OTHER_WAY
    if source in upstream(plan, goals)[1]:
        # The lookup would see the rejected records alone.
        return nothing, LOOKED_UP
    return frozenset(goals), None


# the plan of a replay


@dataclass(frozen=True)
class Choices:
    """What the user decided for single destinations: left out, or appended to although they hold what a whole run made."""

    skip: tuple[str, ...] = ()
    append: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replay:
    """One run of a replay: its plan and the records that it sends; `notes` say what is special about a destination."""

    plan: Plan
    records: tuple[Rejected, ...]
    destinations: tuple[str, ...]
    notes: tuple[str, ...]


def replays(plan: Plan, selection: Selection, finished: Finished, choices: Choices, folder: str) -> list[Replay]:
    """The runs that replay a selection, one for each set of destinations; files that they read go to `folder`.

    Records whose original alone cannot be read are counted in the selection as refused. Raises NotReplayable where a
    destination cannot take the records without losing or doubling others.
    """
    found = []
    for goals, records in selection.groups.items():
        kept = [goal for goal in goals if goal not in choices.skip]
        if not kept:
            continue
        notes: list[str] = []
        writes = {goal: _appending(plan, goal, finished, choices, notes) for goal in kept}
        sources, taken = _sources(plan, records, finished, folder, selection.refused)
        if taken:
            found.append(Replay(_narrowed(plan, sources, writes), tuple(taken), tuple(sorted(kept)), tuple(notes)))
    return found


def _appending(plan: Plan, goal: str, finished: Finished, choices: Choices, notes: list[str]) -> Write:
    """The write to a destination as a replay does it."""
    write = plan.nodes[goal].operator
    assert isinstance(write, Write)
    carried, _ = upstream(plan, [goal])
    whole = {node.step: why for node in plan if node.id in carried and (why := whole_run(node)) is not None}
    both = [step for step, why in whole.items() if why == "both sides"]
    if both:
        raise NotReplayable(
            f"'{goal}' cannot take replayed records alone: '{both[0]}' also gives the rows of its other side, which would double",
            hint=f"leave it out with `--skip {goal}`, or run the integration again",
            place=write.place,
        )
    if write.request.mode == WriteMode.APPEND:
        return write
    if whole and goal not in choices.append:
        step, why = next(iter(whole.items()))
        raise NotReplayable(
            f"'{goal}' holds what '{step}' ({why}) made of a whole run; of the replayed records alone it would make other rows",
            hint=f"leave it out with `--skip {goal}`, add its rows to those there with `--append {goal}`, or run the "
            "integration again",
            place=write.place,
        )
    if write.request.mode in (WriteMode.MERGE, WriteMode.SCD1, WriteMode.SCD2, WriteMode.SCD3):
        return write
    if write.request.mode == WriteMode.DELETE_INSERT:
        raise NotReplayable(
            f"'{goal}' replaces all rows of a key at once: those of the replayed records alone would delete the others",
            hint=f"leave it out with `--skip {goal}`, or run the integration again",
            place=write.place,
        )
    if finished.overwritten_by is not None:
        raise NotReplayable(
            f"'{goal}' does not hold the rows of run {finished.run_id} any more: run {finished.overwritten_by} has replaced them",
            hint=f"replay the rejected records of run {finished.overwritten_by}",
            place=write.place,
        )
    if WriteMode.APPEND not in type(write.sink).capabilities.write_modes:
        raise NotReplayable(
            f"'{goal}' is overwritten by each run, and '{write.connector}' cannot append to it: the rows there would be lost",
            hint=f"leave it out with `--skip {goal}`, or run the integration again",
            place=write.place,
        )
    notes.append(f"'{goal}' is overwritten by a run; the replay adds to it")
    appending = replace(write, request=replace(write.request, mode=WriteMode.APPEND))
    appending.sink.plan_write(appending.request)
    return appending


def _narrowed(plan: Plan, sources: Mapping[str, Source], writes: Mapping[str, Write]) -> Plan:
    """`plan` with other sources and only these writes and the dead letter, which takes any number of records."""
    carried, looked = upstream(plan, writes)
    nodes: dict[str, Node] = {}
    for node in plan:
        operator = node.operator
        if isinstance(operator, Write):
            if node.id in writes:
                nodes[node.id] = node.with_(operator=writes[node.id])
            elif is_aside(operator):
                nodes[node.id] = node
        elif node.id in carried or node.id in looked:
            if isinstance(operator, Read) and node.id in carried:
                source = sources.get(node.id) or NoRecords()
                operator = replace(with_increment(operator, None), source=source, estimated_rows=None, estimated_bytes=None)
                node = node.with_(operator=operator)
            nodes[node.id] = node
    return replace(plan.replaced(nodes), max_rejected=None)


def _sources(
    plan: Plan, records: Sequence[Rejected], finished: Finished, folder: str, refused: Counter[str]
) -> tuple[dict[str, Source], list[Rejected]]:
    """The sources that give the records once more, and those records that they give."""
    columns = {node.id: node.operator.request.columns for node in prune_columns(plan) if isinstance(node.operator, Read)}
    by_block: dict[tuple[Any, ...], list[Rejected]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.row):
        by_block[record.source, record.file, record.byte_start, record.byte_end].append(record)
    parts: dict[str, list[Wanted]] = defaultdict(list)
    taken: list[Rejected] = []
    for (source_id, file, _, _), block in by_block.items():
        read = plan.nodes[source_id].operator
        assert isinstance(read, Read)
        lost = set(columns[source_id]) - set(finished.wiring["reads"].get(source_id, columns[source_id]))
        whole = [record for record in block if record.is_whole and not (lost and not read.source.whole_originals)]
        given: set[int] = set()
        for part in read.source.parts_of(file, [record.original for record in whole], read.request.schema, folder):
            some = [whole[i] for i in part.indices]
            given.update(part.indices)
            parts[source_id].append(_wanted(part.source, part.split, some))
            taken += some
        ids = {whole[i].id for i in given}
        rest = [record for record in block if record.id not in ids]
        if not rest:
            continue
        again = _block_again(read.source, rest, finished.started_at)
        if again is None:
            for record in rest:
                refused[FILE_CHANGED if not record.is_whole else UNREADABLE] += record.letters
            continue
        parts[source_id].append(_wanted(read.source, again[0], rest, picks=again[1]))
        taken += rest
    return {name: Replayed(some) for name, some in parts.items()}, taken


def _wanted(
    source: Source, split: Split, records: Sequence[Rejected], *, picks: Literal["rows", "lines"] | None = None
) -> Wanted:
    first = records[0]
    rows, lines = tuple(record.row for record in records), tuple(record.line for record in records)
    return Wanted(source, split, first.file, first.byte_start, first.byte_end, rows, lines, picks)


def _block_again(source: Source, records: Sequence[Rejected], since: datetime) -> tuple[Split, Literal["rows", "lines"]] | None:
    """The split that reads the block of these records again, and what they are found by there; None where their file is gone,
    or may have changed since.
    """
    source = source.source if isinstance(source, EndingSource) else source
    file = records[0].file
    if file is None or not isinstance(source, FileSource) or local_path(file) is None:
        return None
    try:
        if os.path.getmtime(file) >= since.timestamp():
            return None
        there: DataFile | None = next((each for each in source.files() if each.path == file), None)
    except (OSError, DataHubError):
        return None
    if there is None:
        return None
    if records[0].byte_start is None or codecs.lookup(getattr(source.options, "encoding", "utf-8")).name in ("utf-8", "ascii"):
        return Split(file, records[0].byte_start, records[0].byte_end, (there, None)), "rows"
    # Text in another encoding is read from the start of its file, in blocks that lie elsewhere.
    return (Split(file, detail=(there, None)), "lines") if all(record.line is not None for record in records) else None
