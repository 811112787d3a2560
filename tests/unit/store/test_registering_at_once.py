"""Several processes register schemas under one subject: each version is compared with all that came before it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from beam_datahub.store.location import Location
from beam_datahub.store.store import open_store

# Each opens the store, waits for the line on stdin, and registers.
_REGISTERS = """
import sys
from beam_datahub.errors import IncompatibleSchema
from beam_datahub.runtime.schemas import SchemaRegistry
from beam_datahub.schemas.document import Format
from beam_datahub.store.location import locate
from beam_datahub.store.store import open_store
place, *texts = sys.argv[1:]
with open_store(locate(place)) as store:
    registry = SchemaRegistry(store.reader, store.writer)
    store.reader.subjects.all()
    print("ready", flush=True)
    sys.stdin.readline()
    for text in texts:
        try:
            done = registry.register("orders", Format.AVRO, text)
            print("new" if done.new else "known", done.version.version, done.version.id, flush=True)
        except IncompatibleSchema:
            print("refused", flush=True)
"""


def record(*fields: tuple[str, Any]) -> str:
    found = [{"name": "id", "type": "long"}, *({"name": name, "type": kind, "default": None} for name, kind in fields)]
    return json.dumps({"type": "record", "name": "Order", "fields": found})


def at_once(location: Location, *texts: list[str]) -> list[list[list[str]]]:
    """What each process says when all are let go at the same moment."""
    place = location.url or str(location.path)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _REGISTERS, place, *each], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for each in texts
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started)
    return [[line.split() for line in each.splitlines()] for each in said]


def test_one_schema_is_one_version_whoever_registers_it(location: Location) -> None:
    with open_store(location) as store:
        store.writer.subjects.set_compatibility(None, "full")
    said = at_once(location, *[[record(("a", ["null", "int"]))]] * 3)
    assert sorted(each[0][0] for each in said) == ["known", "known", "new"]
    assert len({tuple(each[0][1:]) for each in said}) == 1


def test_versions_that_fit_each_other_all_get_a_number(location: Location) -> None:
    texts = [[record((f"{name}{index}", ["null", "int"])) for index in range(4)] for name in "abc"]
    with open_store(location) as store:
        store.writer.subjects.set_compatibility(None, "full_transitive")
        said = [line for each in at_once(location, *texts) for line in each]
        versions = store.reader.subjects.versions("orders")
    assert sorted(int(line[1]) for line in said) == list(range(1, 13)) == [each.version for each in versions]
    assert {each.text for each in versions} == {text for each in texts for text in each}


def test_of_versions_that_break_each_other_one_is_taken(location: Location) -> None:
    with open_store(location) as store:
        store.writer.subjects.set_compatibility(None, "full_transitive")
        said = at_once(location, *[[record(("a", ["null", kind]))] for kind in ("int", "string", "boolean")])
        assert sorted(each[0][0] for each in said) == ["new", "refused", "refused"]
        assert [each.version for each in store.reader.subjects.versions("orders")] == [1]
