"""Runs two versions of a spec on the same sample and tells what differs: rows, schemas, rejects, violations and lineage."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from beam_datahub.compiler.build import BuildOptions, build, connected
from beam_datahub.compiler.discretion import masks_of, tags_of
from beam_datahub.compiler.personal import Tags
from beam_datahub.compiler.plan import Plan
from beam_datahub.component.source import ReadRequest, Source
from beam_datahub.errors import QualityFailed
from beam_datahub.kernels.expressions import data_type
from beam_datahub.kernels.types import sql_type, visible
from beam_datahub.lineage.tracing import trace
from beam_datahub.runtime.collect import Collected, collect
from beam_datahub.runtime.launch import RunRequest
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.runtime.run_id import new_run_id
from beam_datahub.spec import FileRows, SourceSpec, SpecDocument, TestSpec, Timeline
from beam_datahub.testing.comparing import Difference, difference
from beam_datahub.testing.given import GivenSource
from beam_datahub.testing.given_files import from_file
from beam_datahub.testing.steps import as_table
from beam_datahub.testing.verdicts import failures, origins

# So many pairs of rows are looked at for likeness; beyond, a row without a key is just added or removed.
_MOST_PAIRS = 200_000


@dataclass(frozen=True)
class RowChange:
    """Rows with the same key on both sides that differ: the key, and column → (old, new)."""

    key: Mapping[str, str]
    columns: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class OutputChange:
    """What differs at one destination; rows as texts. `columns` maps a column to its (old, new) SQL type, None where it is
    absent; `origins` to the (old, new) source columns whose values go into it. `deciding` are the (old, new) source columns
    that decide which rows there are, with how, where they differ.
    """

    destination: str
    rows: tuple[int, int] = (0, 0)
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[RowChange, ...] = ()
    columns: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    origins: Mapping[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    deciding: tuple[list[str], list[str]] | None = None

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.changed or self.columns or self.origins or self.deciding)


@dataclass(frozen=True)
class VersionDiff:
    """What differs between two versions on one sample. `sampled` are the rows of each source; `outputs` the destinations of both
    versions, `lost` and `new` those of one; `rejected` maps (step, reason) and `violations` a rule to (old, new) counts.
    """

    sampled: Mapping[str, int]
    outputs: tuple[OutputChange, ...]
    lost: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    rejected: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    violations: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def is_same(self) -> bool:
        """Whether nothing differs."""
        return all(each.is_same for each in self.outputs) and not (self.lost or self.new or self.rejected or self.violations)


@dataclass(frozen=True)
class _Ran:
    plan: Plan
    collected: Collected
    inputs: Mapping[str, str]
    keys: Mapping[str, tuple[str, ...]]
    tags: Tags

    @cached_property
    def traced(self) -> Mapping[str, Any]:
        """The lineage of every step."""
        return trace(self.plan)

    def private(self, destination: str) -> frozenset[str]:
        """The columns of a destination with personal data that nothing has masked."""
        node = self.plan.node(self.inputs[destination])
        return frozenset(masks_of(self.tags.get(node.id, {}), node.schema))


def sample_of(
    document: SpecDocument,
    rows: int,
    files: Mapping[str, str],
    shared: tuple[SpecDocument, Mapping[str, Source]] | None = None,
) -> dict[str, Source]:
    """The first `rows` rows of each source, read once and kept; of a file instead where `files` names one.

    A source that is the same in a version that was sampled already (`shared`) takes its rows. Raises ConnectorError.
    """
    found: dict[str, Source] = {}
    for name, spec in document.integration.sources.items():
        twin = shared[0].integration.sources.get(name) if shared is not None else None
        if shared is not None and twin is not None and spec.model_copy(update={"at": twin.at}) == twin:
            found[name] = shared[1][name]
            continue
        spec = from_file(spec, FileRows(file=files[name])) if name in files else spec
        found[name] = _kept(connected(document, spec), spec, rows)
    return found


def _kept(source: Source, spec: SourceSpec, rows: int) -> RowsSource:
    schema = _declared(spec) or source.discover().schema
    request = ReadRequest(schema, tuple(schema.names), declared=spec.columns is not None, limit=rows)
    batches: list[pa.RecordBatch] = []
    left = rows
    for block in itertools.chain.from_iterable(source.read(split, request) for split in source.splits(request)):
        batches.append(block.batch.slice(0, left))
        left -= batches[-1].num_rows
        if left <= 0:
            break
    return RowsSource(pa.Table.from_batches(batches, schema))


def _declared(spec: SourceSpec) -> pa.Schema | None:
    return pa.schema([(name, data_type(text)) for name, text in spec.columns.items()]) if spec.columns is not None else None


def sample_of_test(document: SpecDocument, test: TestSpec) -> dict[str, Source]:
    """What a test gives, as the sources of a version. Raises ConnectorError where the columns of one are not known."""
    found: dict[str, Source] = {}
    for name, spec in document.integration.sources.items():
        given = test.given.get(name, ())
        if isinstance(given, FileRows):
            instead = from_file(spec, given)
            found[name] = _kept(connected(document, instead), instead, sys.maxsize)
        else:
            given = given.rows if isinstance(given, Timeline) else given
            schema = _declared(spec) or (as_table(given).schema if given else connected(document, spec).discover().schema)
            found[name] = GivenSource(given, schema)
    return found


def compare_versions(
    old: tuple[SpecDocument, Mapping[str, Source]], new: tuple[SpecDocument, Mapping[str, Source]]
) -> VersionDiff:
    """What differs between two versions, each with its sources; nothing is written outside. Raises what `validate` would."""
    one, other = _run(*old), _run(*new)
    both = [name for name in one.inputs if name in other.inputs]
    read = {
        name: line
        for ran in (one, other)
        for name, line in ran.collected.result.books.items()
        if name in old[1] or name in new[1]
    }
    return VersionDiff(
        sampled={name: line.get("read", 0) for name, line in read.items()},
        outputs=tuple(_output(name, one, other) for name in both),
        lost=tuple(name for name in one.inputs if name not in other.inputs),
        new=tuple(name for name in other.inputs if name not in one.inputs),
        rejected=_counts(_refused(one.collected), _refused(other.collected)),
        violations=_counts(failures(one.collected), failures(other.collected)),
    )


def _run(document: SpecDocument, sample: Mapping[str, Source]) -> _Ran:
    spec = document.integration
    plan = build(document.changed(profile=None), BuildOptions(sources=dict(sample), outputs=False))
    inputs = {sink.id: sink.input[0] for sink in spec.destinations}
    collected = collect(plan, inputs, RunRequest(new_run_id()), quality=True)
    error = collected.result.error
    if error is not None and not isinstance(error, QualityFailed):
        raise error
    tags = tags_of(plan, document, given=frozenset(sample))
    return _Ran(plan, collected, inputs, {sink.id: sink.key for sink in spec.destinations}, tags)


def _output(name: str, one: _Ran, other: _Ran) -> OutputChange:
    before, after = one.collected.tables[name], other.collected.tables[name]
    types = [{each.name: sql_type(each.type) for each in visible(table.schema)} for table in (before, after)]
    columns = {
        column: (types[0].get(column), types[1].get(column))
        for column in dict.fromkeys([*types[0], *types[1]])
        if types[0].get(column) != types[1].get(column)
    }
    shared = [column for column in types[0] if column in types[1]]
    apart = replace(difference(before.select(shared), after.select(shared)), private=one.private(name) | other.private(name))
    keys = other.keys[name] or one.keys[name]
    added, removed, changed = _by_key(apart, [key for key in keys if key in shared] or _implied_key(apart))
    return OutputChange(
        name,
        (before.num_rows, after.num_rows),
        tuple(added),
        tuple(removed),
        tuple(changed),
        columns,
        _origins(one.traced[one.inputs[name]].columns, other.traced[other.inputs[name]].columns),
        _deciding(one.traced[one.inputs[name]].rows, other.traced[other.inputs[name]].rows),
    )


def _by_key(apart: Difference, keys: list[str]) -> tuple[list[str], list[str], list[RowChange]]:
    """Added, removed and changed rows; without a key, rows that are mostly alike count as changed."""
    if not keys:
        return _by_likeness(apart)
    places = [apart.columns.index(key) for key in keys]
    left: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in apart.unexpected:
        left.setdefault(tuple(row[place] for place in places), []).append(row)
    removed, changed = [], []
    for row in apart.missing:
        twins = left.get(tuple(row[place] for place in places))
        if not twins:
            removed.append(apart.text(row))
            continue
        changed.append(_change(apart, row, twins.pop(0), keys))
    return [apart.text(row) for rows in left.values() for row in rows], removed, changed


def _implied_key(apart: Difference) -> list[str]:
    """A column that tells the differing rows of both sides apart, and that most of them share."""
    for place, name in enumerate(apart.columns):
        old, new = ({row[place] for row in rows} for rows in (apart.missing, apart.unexpected))
        if len(old) == len(apart.missing) and len(new) == len(apart.unexpected) and len(old & new) * 2 > max(len(old), len(new)):
            return [name]
    return []


def _by_likeness(apart: Difference) -> tuple[list[str], list[str], list[RowChange]]:
    if len(apart.missing) * len(apart.unexpected) > _MOST_PAIRS:
        return list(map(apart.text, apart.unexpected)), list(map(apart.text, apart.missing)), []
    added, removed, changed = [], [], []
    for old, new in apart.pairs():
        if old is not None and new is not None:
            same = [name for name, a, b in zip(apart.columns, old, new, strict=True) if a == b]
            changed.append(_change(apart, old, new, same))
        elif old is not None:
            removed.append(apart.text(old))
        elif new is not None:
            added.append(apart.text(new))
    return added, removed, changed


def _change(apart: Difference, old: tuple[Any, ...], new: tuple[Any, ...], keys: list[str]) -> RowChange:
    key = {name: apart.shown(name, value) for name, value in zip(apart.columns, old, strict=True) if name in keys}
    return RowChange(key, {name: (a, b) for name, a, b in apart.cells(old, new)})


def _origins(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[list[str], list[str]]]:
    found = {}
    for column in dict.fromkeys([*old, *new]):
        before, after = (origins({"": columns}, "", column) or [] for columns in (old, new))
        if before != after:
            found[column] = (before, after)
    return found


def _deciding(old: Mapping[Any, Any], new: Mapping[Any, Any]) -> tuple[list[str], list[str]] | None:
    before, after = (sorted({f"{source}.{column} ({flow})" for (source, column), flow in rows}) for rows in (old, new))
    return None if before == after else (before, after)


def _refused(collected: Collected) -> dict[tuple[str, str], int]:
    return dict(Counter((each["step"], each["reason"]) for each in collected.rejected.to_pylist()))


def _counts(old: Mapping[Any, int], new: Mapping[Any, int]) -> dict[Any, tuple[int, int]]:
    return {key: (old.get(key, 0), new.get(key, 0)) for key in dict.fromkeys([*old, *new]) if old.get(key, 0) != new.get(key, 0)}
