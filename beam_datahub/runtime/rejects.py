"""The dead letter of a run, read back from where the run wrote it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from beam_datahub.compiler.dead_letter import SEALED_COLUMNS, seal_context
from beam_datahub.component.database_erasure import reader
from beam_datahub.component.database_sink import DatabaseSink
from beam_datahub.component.registry import component
from beam_datahub.component.source import ReadRequest, Source
from beam_datahub.errors import NotReplayable, SourceMissing, UnknownName
from beam_datahub.kernels.rejection import DEAD_LETTER
from beam_datahub.kernels.types import empty_table
from beam_datahub.security.sealing import key_of, load_sealer, use_sealer
from beam_datahub.store.location import Location


@dataclass(frozen=True)
class Group:
    """Rejected records that are alike, the first message of them, and how many there are."""

    step: str
    reason: str
    column: str | None
    records: int
    example: str


def read_dead_letter(run_id: str | None, place: Mapping[str, Any] | None, locations: Sequence[str]) -> pa.Table:
    """The rejected records of a run (None: of all), as a table of DEAD_LETTER.

    `place` is how the run's wiring describes the dead letter, `locations` the files that the run wrote. Raises
    SourceMissing, UnreadableData, or NotReplayable where no connector can read what was written.
    """
    if place is None or not locations:
        return empty_table(DEAD_LETTER)
    source = _source(place, locations)
    request = ReadRequest(DEAD_LETTER, tuple(DEAD_LETTER.names), declared=True)
    tables = [empty_table(DEAD_LETTER)]
    try:
        for split in source.splits(request):
            for block in source.read(split, request):
                own = pa.Table.from_batches([block.batch])
                tables.append(own if run_id is None else own.filter(pc.equal(own["run_id"], run_id)))
    except SourceMissing as error:
        if run_id is None:
            return empty_table(DEAD_LETTER)
        raise SourceMissing(
            f"the dead letter of run {run_id} is gone: {error.reason}", hint="it was at " + ", ".join(locations[:3])
        ) from error
    return pa.concat_tables(tables)


def read_letters(sink: DatabaseSink) -> pa.Table:
    """All rejected records of a dead letter that is a table of a database, as a table of DEAD_LETTER. Raises ConnectorError."""
    source, request = reader(sink), ReadRequest(DEAD_LETTER, tuple(DEAD_LETTER.names), declared=True)
    try:
        blocks = [block.batch for split in source.splits(request) for block in source.read(split, request)]
    except SourceMissing:
        return empty_table(DEAD_LETTER)
    return pa.concat_tables([empty_table(DEAD_LETTER), *(pa.Table.from_batches([batch]) for batch in blocks)])


def _source(place: Mapping[str, Any], locations: Sequence[str]) -> Source:
    name = str(place["connector"])
    try:
        kind: type[Source] = component("source", name)
    except UnknownName as error:
        raise _unreadable(name) from error
    written = {**place["options"]}
    if "null_word" in written:
        written["null_words"] = [written.pop("null_word")]
    options = {key: value for key, value in written.items() if key in kind.Options.model_fields}
    if "header" in kind.Options.model_fields:
        options.setdefault("header", True)
    connection = {**place["connection"], "path": list(locations)}
    try:
        return kind(kind.Connection.model_validate(connection), kind.Options.model_validate(options))
    except ValidationError as error:
        # Messages and tables are not read by the places that a run has written to.
        raise _unreadable(name) from error


def _unreadable(name: str) -> NotReplayable:
    return NotReplayable(
        f"the dead letter went to '{name}', which cannot be read back",
        hint="write it to files: `dead_letter: {connector: jsonl, connection: {path: …}}`",
    )


def chosen(letters: pa.Table, reasons: Sequence[str] = (), steps: Sequence[str] = ()) -> pa.Table:
    """The records that were rejected for one of the reasons, at one of the steps; all where none is given."""
    for column, wanted in (("reason", reasons), ("step", steps)):
        if wanted:
            letters = letters.filter(pc.is_in(letters[column], value_set=pa.array(list(wanted), pa.string())))
    return letters


def check_names(letters: pa.Table, reasons: Sequence[str], steps: Sequence[str]) -> None:
    """Refuse a reason or step that no record has. Raises UnknownName."""
    for column, wanted in (("reason", reasons), ("step", steps)):
        known = [str(name) for name in pc.unique(letters[column]).to_pylist()]
        for name in wanted:
            if name not in known:
                raise UnknownName(f"{column} among the rejected records", name, known)


def groups(letters: pa.Table) -> list[Group]:
    """The records by step, reason and column, the largest group first."""
    counts: Counter[tuple[str, str, str | None]] = Counter()
    examples: dict[tuple[str, str, str | None], str] = {}
    columns = [letters[name].to_pylist() for name in ("step", "reason", "column", "message")]
    for step, reason, column, message in zip(*columns, strict=True):
        counts[step, reason, column] += 1
        examples.setdefault((step, reason, column), message or "")
    ordered = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    return [Group(*key, records, examples[key]) for key, records in ordered]


def as_records(letters: pa.Table) -> list[dict[str, Any]]:
    """The records as plain values; times in ISO 8601."""
    return [
        {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}
        for row in letters.to_pylist()
    ]


def pretty(original: str | None) -> str:
    """An original in one line: a JSON object as `key: value` pairs, anything else as it is."""
    if original is None:
        return ""
    try:
        found = json.loads(original)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return original.replace("\r", "\\r").replace("\n", "\\n")
    return "  ".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}" for key, value in found.items()
    )


def is_sealed(text: str | None) -> bool:
    """Whether a text of the dead letter is sealed."""
    return text is not None and key_of(text) is not None


def keep_sealed(location: Location) -> None:
    """Let the runs of this process seal by the store's key, which is made where there is none. Raises WrongKey."""
    location.folder.mkdir(parents=True, exist_ok=True)
    use_sealer(load_sealer(location.key_file, create=True))


def unsealed(letters: pa.Table, location: Location) -> pa.Table:
    """The records with their originals and messages opened by the keys at hand. Raises WrongKey."""
    for name in SEALED_COLUMNS:
        texts = letters[name].to_pylist()
        if not any(is_sealed(text) for text in texts):
            continue
        sealer = load_sealer(location.key_file)
        owners = letters["integration"].to_pylist()
        opened = [
            sealer.unseal(text, seal_context(owner, name)).decode("utf-8", "surrogatepass") if is_sealed(text) else text
            for text, owner in zip(texts, owners, strict=True)
        ]
        index = letters.schema.get_field_index(name)
        letters = letters.set_column(index, letters.schema.field(index), pa.array(opened, pa.string()))
    return letters
