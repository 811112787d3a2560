"""Every connector of the registry keeps what the design promises of all of them."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from beam_datahub.component.capabilities import Delivery, WriteMode
from beam_datahub.component.file_sink import FileSink
from beam_datahub.component.registry import component, names
from beam_datahub.component.sink import Receipt, Sink, WriteRequest
from beam_datahub.component.source import Source
from beam_datahub.spec.written import WrittenDestination, WrittenSingleSource
from beam_datahub.testing import conformance
from beam_datahub.testing.connectors import read, sink, source, stage, write

EVERY = [pytest.param(kind, name, id=f"{kind}-{name}") for kind in ("source", "sink") for name in names(kind)]
FILES = [name for name in names("sink") if name in names("source") and issubclass(component("sink", name), FileSink)]
# What a format cannot do without.
OPTIONS: dict[str, dict[str, Any]] = {"fixed_width": {"columns": {"n": 20, "text": 20, "x": 25}}}
SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string()), ("x", pa.float64())])


def rows(first: int, count: int = 5) -> pa.Table:
    numbers = range(first, first + count)
    return pa.table([list(numbers), [f"row {n}, é" for n in numbers], [n / 8 for n in numbers]], schema=SCHEMA)


def reader(name: str, path: str) -> Source:
    return source(name, path, **OPTIONS.get(name, {}))


def writer_to(name: str, path: str) -> Sink:
    return sink(name, path, **OPTIONS.get(name, {}))


def numbers(name: str, path: str) -> list[int]:
    return sorted(read(reader(name, path), SCHEMA).table["n"].to_pylist())


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_connector_documents_and_limits_its_options(kind: Any, name: str) -> None:
    connector = component(kind, name)
    assert connector.__doc__
    assert connector.examples
    for model in (connector.Connection, connector.Options):
        conformance.check_documented(model)
        conformance.check_unknown_option(model)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_an_option_of_a_connector_is_no_word_of_the_spec(kind: Any, name: str) -> None:
    written = {"source": WrittenSingleSource, "sink": WrittenDestination}[kind]
    words = {field.alias or each for each, field in written.model_fields.items()}
    assert not words & set(component(kind, name).Options.model_fields)


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_an_example_is_valid_and_the_connector_pickles(kind: Any, name: str) -> None:
    connector = component(kind, name)
    for example in connector.examples:
        options = dict(example.config)
        reach = connector.Connection.model_validate(options.pop("connection", {}))
        for key in ("connector", "schema", "contract", "write_mode", "key"):
            options.pop(key, None)
        made = connector(reach, connector.Options.model_validate(options))
        again = pickle.loads(pickle.dumps(made))
        assert (again.connection, again.options) == (made.connection, made.options)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("single", [False, True], ids=["folder", "one file"])
@pytest.mark.parametrize("seed", range(3))
def test_bundles_that_fail_and_are_retried_at_random_change_nothing(name: str, single: bool, seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    path = str(tmp_path / ("out" + component("sink", name).extensions[0] if single else "out")) + ("" if single else "/")
    target = writer_to(name, path)
    request = WriteRequest("run1", "out", SCHEMA, WriteMode.OVERWRITE)
    target.prepare(request)
    receipts: list[Receipt] = []
    for bundle in range(6):
        while True:
            writer = target.open(request)
            batches = rows(bundle * 5).to_batches(max_chunksize=2)
            for batch in batches[: draw.randint(0, len(batches))]:
                writer.write(batch)
            fate = draw.choice(["discarded", "lost", "kept"])
            if fate == "discarded":
                writer.discard()
            elif fate == "lost":  # the worker died after it staged: the engine runs the bundle again
                writer.close()
            else:
                writer.discard()
                receipts += stage(target, request, [rows(bundle * 5)])
                break
    for _ in range(draw.randint(1, 3)):
        done = target.commit(request, receipts)
        assert done.rows == 30
    assert numbers(name, path) == list(range(30))


@pytest.mark.parametrize("name", FILES)
def test_appending_adds_and_a_repeated_run_does_not(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / "out") + "/"
    write(writer_to(name, path), rows(0), run="run1")
    write(writer_to(name, path), rows(5), run="run2")
    assert numbers(name, path) == list(range(10))
    assert component("sink", name).capabilities.delivery is Delivery.EXACTLY_ONCE
    write(writer_to(name, path), rows(5), run="run2")
    assert numbers(name, path) == list(range(10))


@pytest.mark.parametrize("name", FILES)
def test_an_aborted_run_leaves_what_was_there_and_nothing_else(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / "out") + "/"
    write(writer_to(name, path), rows(0), mode="overwrite")
    before = sorted(str(found) for found in tmp_path.rglob("*") if found.is_file())
    target, request = writer_to(name, path), WriteRequest("run2", "out", SCHEMA, WriteMode.OVERWRITE)
    target.prepare(request)
    stage(target, request, [rows(5)])
    target.abort(request)
    assert numbers(name, path) == list(range(5))
    assert sorted(str(found) for found in tmp_path.rglob("*") if found.is_file()) == before


@pytest.mark.parametrize("name", FILES)
def test_no_rows_give_the_promised_schema(name: str, tmp_path: Path) -> None:
    path = str(tmp_path / "out") + "/"
    write(writer_to(name, path), rows(0).slice(0, 0), mode="overwrite")
    found = read(reader(name, path), SCHEMA)
    assert found.table.num_rows == 0
    assert found.table.schema == SCHEMA
