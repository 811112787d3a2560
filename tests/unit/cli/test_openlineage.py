"""`run --openlineage`: events in a file or at a server, and a run that does not care whether they arrive."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.conftest import needed

needed("openlineage.client")

Run = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[tuple[str, list[tuple[str, dict[str, Any]]]]]:
    """A server that keeps what is posted to it: its URL, and (path, event) pairs."""
    posted: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append((self.path, json.loads(body)))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}", posted
        found.shutdown()
        thread.join()


def test_a_file_gets_a_line_for_each_event(shop: Path, cli: Run) -> None:
    assert cli("run", "shop.yaml", "--openlineage", "logs/events.ndjson").exit_code == 0
    first, last = (json.loads(line) for line in Path("logs/events.ndjson").read_text().splitlines())
    assert (first["eventType"], last["eventType"]) == ("START", "COMPLETE")
    assert first["eventTime"] < last["eventTime"]
    assert last["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 4
    rows = {each["name"].rpartition("/")[2]: each["outputFacets"] for each in last["outputs"]}
    assert rows["out.jsonl"]["outputStatistics"]["rowCount"] == 2


def test_a_server_gets_both_events_at_its_endpoint(shop: Path, cli: Run, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    url, posted = server
    monkeypatch.setenv("OPENLINEAGE_URL", url)
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "tests")
    assert cli("run", "shop.yaml").exit_code == 0
    assert [(path, event["eventType"]) for path, event in posted] == [
        ("/api/v1/lineage", "START"),
        ("/api/v1/lineage", "COMPLETE"),
    ]
    assert posted[0][1]["job"]["namespace"] == "tests"


def test_a_long_run_says_that_it_is_running(shop: Path, cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from beam_datahub.runtime import launch, openlineage_events

    # What was read is asked for once more, and the run waits for that: so it is long enough for an event after its reading.
    events = Path("events.ndjson")
    monkeypatch.setattr(openlineage_events, "RUNNING_SECONDS", (0.01, 0.01))
    is_read, is_told = threading.Event(), threading.Event()
    so_far, finish = openlineage_events._so_far, launch._result

    def asked(plan: Any) -> Any:
        if is_read.is_set():
            is_told.set()
        return so_far(plan)

    def when_told(*arguments: Any) -> Any:
        is_read.set()
        assert is_told.wait(60)
        return finish(*arguments)

    monkeypatch.setattr(openlineage_events, "_so_far", asked)
    monkeypatch.setattr(launch, "_result", when_told)
    assert cli("run", "shop.yaml", "--openlineage", str(events)).exit_code == 0
    found = [json.loads(line) for line in events.read_text().splitlines()]
    states = [each["eventType"] for each in found]
    assert (states[0], states[-1]) == ("START", "COMPLETE")
    assert set(states[1:-1]) == {"RUNNING"}
    assert len({each["run"]["runId"] for each in found}) == 1
    assert found[-2]["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 4


def test_a_failed_run_says_why(shop: Path, cli: Run) -> None:
    (shop / "shop.yaml").write_text((shop / "shop.yaml").read_text() + "max_rejected: 0\n")
    found = cli("run", "shop.yaml", "--openlineage", "events.ndjson")
    assert found.exit_code == 6
    last = json.loads(Path("events.ndjson").read_text().splitlines()[-1])
    assert last["eventType"] == "FAIL"
    assert "DH302" in last["run"]["facets"]["errorMessage"]["message"]


def test_a_dead_server_is_told_and_changes_nothing(shop: Path, cli: Run) -> None:
    found = cli("run", "shop.yaml", "--openlineage", "http://user:hidden@127.0.0.1:9")
    assert found.exit_code == 0
    assert (shop / "out.jsonl").exists()
    assert found.stderr.count("no OpenLineage event reached http://127.0.0.1:9") == 1
    assert "hidden" not in found.stderr
