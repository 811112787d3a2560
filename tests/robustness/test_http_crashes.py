"""A run that is killed while it sends records to an HTTP service: what arrives, by which keys, and what is told."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.io.http_endpoint import Endpoint, endpoint

SPEC = """\
name: relay
source: {{name: in, connector: jsonl, connection: {{path: in.jsonl}}, schema: {{n: bigint}}, incremental: {{column: n}}}}
destinations:
  - {{id: api, connector: http, connection: {{url: "{url}"}}, concurrency: 2}}
  - {{id: file, connector: jsonl, connection: {{path: file/}}, write_mode: append}}
dead_letter: {{connector: jsonl, connection: {{path: dead/}}}}
"""


@pytest.fixture
def service() -> Iterator[Endpoint]:
    with endpoint() as found:
        yield found


def numbers(work: Any, folder: str) -> list[int]:
    files = sorted((work.folder / folder).glob("*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return sorted(json.loads(each["original"])["n"] if "original" in each else each["n"] for each in lines)


def test_a_run_that_is_killed_while_it_sends_is_brought_to_its_end_with_the_same_keys(work: Any, service: Endpoint) -> None:
    work.environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    (work.folder / "in.jsonl").write_text("".join(f'{{"n": {n}}}\n' for n in range(200)))
    (work.folder / "relay.yaml").write_text(SPEC.format(url=service.url))
    stands, killed = threading.Event(), threading.Event()

    def answer(each: Any) -> int:
        if each.json["n"] == 120 and not killed.is_set():
            stands.set()
            killed.wait(120)
        return 422 if each.json["n"] in (7, 150) else 200

    service.answer = answer
    running = work.start("run", "relay.yaml")
    running.until(stands.is_set)
    running.signal(signal.SIGKILL)
    assert running.end().status == -signal.SIGKILL
    killed.set()
    done = work.bh("run", "relay.yaml", "--json")
    assert done.status == 0, done
    # It has nothing of its own to do any more.
    assert done.record["written"]["api"]["rows"] == 0
    keys: dict[int, set[str]] = {}
    for each in service.sent:
        keys.setdefault(each.json["n"], set()).add(each.key)
    assert sorted(keys) == list(range(200))
    assert all(len(each) == 1 for each in keys.values())
    assert {each.json["n"] for each in service.taken} == set(range(200)) - {7, 150}
    assert len(service.sent) < 260
    assert numbers(work, "dead") == [7, 150]
    assert numbers(work, "file") == list(range(200))
    assert work.staged() == []
    # Nothing of what was refused is left beside the dead letter.
    assert [name for name in work.files() if "returned" in name] == []
