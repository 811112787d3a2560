"""Hands out or removes the records of one person, place by place, and tells of each what came of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from beam_datahub.compiler.dead_letter import SEALED_COLUMNS
from beam_datahub.component.database_sink import DatabaseSink
from beam_datahub.component.sink import Sink, WriteRequest
from beam_datahub.component.subject import Held, Subject
from beam_datahub.errors import DataHubError
from beam_datahub.kernels.session import KernelSession
from beam_datahub.runtime.rejects import is_sealed, read_dead_letter, read_letters, unsealed
from beam_datahub.runtime.subject_places import Place, Target

if TYPE_CHECKING:
    from beam_datahub.runtime.store_link import StoreLink
    from beam_datahub.store.location import Location
    from beam_datahub.store.records import Run

# A shorter value is a word of many texts.
_LEAST_MENTION = 5
_READABLE = ("report.json", "report.html", "run.log")
_SALT = b"beam-datahub data subject 1"

# Takes one record of the subject: the place, and the record as JSON text.
Take = Callable[[Place, bytes], None]


@dataclass(frozen=True)
class Outcome:
    """What came of a request: `action` is export or erase, `subject` has each column of the key with a hash of its value."""

    action: str
    subject: tuple[tuple[str, str], ...]
    places: tuple[Place, ...]
    dry_run: bool
    at: str

    @property
    def is_complete(self) -> bool:
        """Whether every place could be looked through, and what was to be removed is gone."""
        return all(place.is_settled for place in self.places)

    def as_record(self) -> dict[str, Any]:
        """The outcome as one JSON object; it has no value of the subject in it."""
        return {
            "action": self.action,
            "subject": [{"column": column, "hash": known} for column, known in self.subject],
            "at": self.at,
            "dry_run": self.dry_run,
            "complete": self.is_complete,
            "found": sum(place.found for place in self.places),
            "erased": sum(place.erased for place in self.places),
            "places": [{**asdict(place), "where": list(place.where), "columns": list(place.columns)} for place in self.places],
        }


def subject_hash(column: str, value: str) -> str:
    """What stands for a value in reports and in the audit: the same for the same value, and slow to guess (scrypt)."""
    return hashlib.scrypt(f"{column}={value}".encode(), salt=_SALT, n=2**14, r=8, p=1, dklen=16).hex()


def perform(
    found: Sequence[Target | Place],
    keys: Sequence[tuple[str, str]],
    location: Location,
    *,
    erase: bool = False,
    dry_run: bool = False,
    take: Take | None = None,
    watch: Callable[[Place], None] | None = None,
) -> Outcome:
    """Look through all places, and remove what is found there where `erase` says so; one that fails leaves the others be."""
    done = []
    for each in found:
        place = each if isinstance(each, Place) else _looked_through(each, location, erase=erase and not dry_run, take=take)
        done.append(place)
        if watch is not None:
            watch(place)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    hashes = tuple((column, subject_hash(column, value)) for column, value in keys)
    return Outcome("erase" if erase else "export", hashes, tuple(done), dry_run, at)


def _looked_through(target: Target, location: Location, *, erase: bool, take: Take | None) -> Place:
    place = target.place
    opened: _Opened | None = None
    try:
        subjects = [target.subject]
        if target.letters is not None:
            opened = _sealed(target, location)
            subjects += [opened.subject] if opened is not None else []
        for sink, request in target.sinks:
            for number, subject in enumerate(subjects):
                held = _one(sink, request, subject, place, opened, erase=erase, take=take)
                place = replace(
                    place,
                    found=place.found + held.rows,
                    erased=place.erased + (held.rows if erase else 0),
                    # Both look at the same records.
                    uncertain=place.uncertain + (held.uncertain if number == 0 else 0),
                )
        if opened is not None:
            place = replace(place, uncertain=place.uncertain + opened.uncertain)
    except DataHubError as error:
        return replace(place, state="failed", reason=error.reason)
    reason = None
    if place.uncertain:
        reason = (
            "records that are no JSON mention the value: nobody knows whose they are (--mentions takes them as the subject's)"
        )
    return replace(place, state="erased" if place.erased else "found" if place.found else "nothing", reason=reason)


def _one(
    sink: Sink, request: WriteRequest, subject: Subject, place: Place, opened: _Opened | None, *, erase: bool, take: Take | None
) -> Held:
    if erase:
        return sink.erase(request, subject)

    def lines(data: bytes) -> None:
        assert take is not None
        for line in data.splitlines():
            take(place, line if opened is None else opened.readable(line))

    return sink.find(request, subject, lines if take is not None else None)


@dataclass(frozen=True)
class _Opened:
    """The sealed records of a dead letter that are the subject's, by their sealed texts."""

    subject: Subject
    uncertain: int
    clear: Mapping[str, str]

    def readable(self, line: bytes) -> bytes:
        """A record with its sealed texts in clear."""
        record = json.loads(line)
        for name in SEALED_COLUMNS:
            record[name] = self.clear.get(record.get(name) or "", record.get(name))
        return json.dumps(record, ensure_ascii=False).encode()


def _sealed(target: Target, location: Location) -> _Opened | None:
    """What of a dead letter is sealed and the subject's; None where nothing is sealed. Raises WrongKey."""
    letters = target.letters
    assert letters is not None
    sink = target.sinks[0][0]
    if isinstance(sink, DatabaseSink):
        sealed = read_letters(sink)
    else:
        path = letters["connection"].get("path")
        if not isinstance(path, str) or not os.path.exists(path):
            return None
        sealed = read_dead_letter(None, letters, [path])
    mask = pa.array([is_sealed(text) for text in sealed["original"].to_pylist()], pa.bool_())
    sealed = sealed.filter(mask)
    if not sealed.num_rows:
        return None
    clear = unsealed(sealed, location)
    with KernelSession(threads=1) as session:
        table = pa.table({"sealed": sealed["original"], "original": clear["original"]})
        session.put("input", table)
        condition = target.subject.json_condition("original")
        theirs = session.fetch(f"SELECT sealed FROM input WHERE {condition}")["sealed"].to_pylist()
        mentioned = 0
        if not target.subject.mentions:
            mentioned = int(str(session.scalar(f"SELECT count(*) FROM input WHERE {target.subject.mentioned('original')}")))
    texts = {
        str(before): str(after)
        for name in SEALED_COLUMNS
        for before, after in zip(sealed[name].to_pylist(), clear[name].to_pylist(), strict=True)
    }
    pairs = tuple(("original", str(text)) for text in theirs)
    return _Opened(Subject(target.subject.value, (), others=pairs), mentioned, texts)


def run_records(
    integrations: Sequence[str], keys: Sequence[tuple[str, str]], store: StoreLink | None, *, erase: bool
) -> Iterator[Place]:
    """The reports and logs that runs left in their folders; the value is blotted out where they mention it."""
    values = [value for _, value in keys if len(value) >= _LEAST_MENTION]
    if store is None or not values:
        return
    for name in integrations:
        runs = store.reader.runs.find(integration=name)
        files = [str(path) for run in runs for path in _mentioning(run, values)]
        if not files:
            continue
        place = Place(name, "reports and logs of runs", "run_records", "", tuple(files), found=len(files), state="found")
        if erase:
            try:
                for path in files:
                    _blot_out(Path(path), values)
                place = replace(place, state="erased", erased=len(files))
            except OSError as error:
                place = replace(place, state="failed", reason=f"{error.filename}: {error.strerror}")
        yield place


def _forms(value: str) -> list[str]:
    """A value as texts, JSON and HTML write it."""
    import html

    plain = [value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]]
    return list(dict.fromkeys([*plain, *map(html.escape, plain)]))


def _mentioning(run: Run, values: Sequence[str]) -> Iterator[Path]:
    for name in _READABLE:
        path = Path(run.folder or "") / name
        if run.folder and path.is_file():
            text = path.read_text("utf-8", errors="surrogateescape")
            if any(form in text for value in values for form in _forms(value)):
                yield path


def _blot_out(path: Path, values: Sequence[str]) -> None:
    text = path.read_text("utf-8", errors="surrogateescape")
    for form in (form for value in values for form in _forms(value)):
        text = text.replace(form, "(erased)")
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, "utf-8", errors="surrogateescape")
    os.replace(fresh, path)


def note(outcome: Outcome, store: StoreLink) -> None:
    """Keep in the audit that a request was carried out."""
    counts = [
        {"integration": p.integration, "place": p.name, "state": p.state, "found": p.found, "erased": p.erased}
        for p in outcome.places
    ]
    for column, known in outcome.subject:
        store.writer.journal.note(
            outcome.action, "data subject", known, column=column, complete=outcome.is_complete, places=counts
        )
