"""Batches move by Arrow's own encoding wherever they go, never pickled."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.coders import FastPrimitivesCoder, PickleCoder, TupleCoder

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.dead_letter import Identity
from beam_datahub.compiler.lower import Lowering, lower
from beam_datahub.compiler.passes import joins, optimise
from beam_datahub.component.coder import ArrowCoder, BatchStore
from beam_datahub.runtime.rows import RowsSource
from beam_datahub.spec import loads

SPEC = """\
name: everything
sources:
  l: {connector: inline, connection: {}, rows: []}
  r: {connector: inline, connection: {}, rows: []}
transformations:
  - {id: e, type: enrichment, input: l, config: {with: r, "on": k, add: [v], missing: reject}}
  - {id: x, type: route, input: e, config: {branches: {a: id > 2}, default: b}}
  - {id: u, type: union, input: [x.a, x.b]}
  - {id: j, type: join, input: [u, l], config: {"on": id, columns: [id, u.k], kind: full}}
  - {id: d, type: deduplication, input: j, config: {by: id, order_by: k}}
  - {id: a, type: aggregation, input: d, config: {by: [], measures: {n: count(*)}}}
destinations:
  - {id: o, connector: console, connection: {}, input: a}
"""


@pytest.mark.parametrize("broadcast", [True, False])
def test_no_batch_is_pickled(broadcast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not broadcast:
        monkeypatch.setattr(joins, "BROADCAST_BYTES", -1)
    left, right = pa.table({"id": [1, 2], "k": [1, 2]}), pa.table({"k": [1], "v": ["a"]})
    plan = build(
        loads(SPEC), BuildOptions(sources={"l": RowsSource(left), "r": RowsSource(right)}, dead_letter_folder="rejected")
    )
    pipeline = beam.Pipeline()
    lower(optimise(plan), pipeline, Lowering(Identity("run", "everything"), "report.json"))
    proto, context = pipeline.to_runner_api(return_context=True)
    coders = {
        collection.unique_name: context.coders.get_by_id(collection.coder_id)
        for collection in proto.components.pcollections.values()
    }
    pickled = sorted(name for name, coder in coders.items() if isinstance(coder, FastPrimitivesCoder | PickleCoder))
    # What carries no batch: the element that starts a read, the splits of a source, the commit's report, a destination's nothing.
    harmless = ("/start", "/list", "/seed", "Create", "Impulse", "run/", "[o]", "[dead_letter]", "o.None", "dead_letter.None")
    assert [name for name in pickled if not any(part in name for part in harmless)] == []
    assert sum(isinstance(coder, ArrowCoder) for coder in coders.values()) >= 8
    sharded = [coder for coder in coders.values() if isinstance(coder, TupleCoder) and isinstance(coder.coders()[1], ArrowCoder)]
    assert len(sharded) >= 3


def test_a_batch_comes_back_as_it_went() -> None:
    batch = pa.record_batch({"a": [1, None], "b": [{"c": "x"}, None]}).slice(1).replace_schema_metadata({"k": "v"})
    coder = ArrowCoder()
    assert coder.decode(coder.encode(batch)).equals(batch, check_metadata=True)
    for budget in (0, 1 << 20):
        with BatchStore(budget) as store:
            first, second = coder.encode(batch), coder.encode(batch.slice(0, 0))
            assert store.spilled == (budget == 0)
            assert coder.decode(first).equals(batch, check_metadata=True)
            assert coder.decode(second).num_rows == 0


def test_a_reference_is_of_no_use_behind_its_run() -> None:
    with BatchStore(1 << 20):
        reference = ArrowCoder().encode(pa.record_batch({"a": [1]}))
    with pytest.raises(ValueError, match="left the process"):
        ArrowCoder().decode(reference)
