"""The event bus on every kind of system that has topics or queues."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beam_datahub.errors import DataHubError, Place
from beam_datahub.runtime import event_bus
from beam_datahub.runtime.event_bus import bus_settings, send_waiting
from beam_datahub.runtime.hub_events import ERRORS, event
from beam_datahub.runtime.store_link import StoreHere, locate
from beam_datahub.store.records import Connection
from tests.conftest import Server

PREFIX = f"bus{os.getpid()}"
SYSTEMS: dict[str, tuple[str, Callable[[Server], dict[str, Any]]]] = {
    "redis_stream": ("redis", lambda server: {"host": server.host, "port": server.port}),
    "nats": ("nats", lambda server: {"servers": f"nats://{server.address}"}),
    "rabbitmq": ("rabbitmq", lambda server: {"host": server.host, "port": server.port}),
    "mqtt": ("mosquitto", lambda server: {"host": server.host, "port": server.port}),
    "pubsub": ("pubsub", lambda server: {"project": "tests", "emulator": server.address}),
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreHere]:
    """The store of a project whose events go to the connection `bus`."""
    (tmp_path / ".beam-datahub" / "runs").mkdir(parents=True)
    (tmp_path / ".beam-datahub" / "events.yaml").write_text(f"events: {{connection: bus, prefix: {PREFIX}}}\n")
    monkeypatch.chdir(tmp_path)
    found = StoreHere(locate())
    yield found
    found.close()


@pytest.mark.parametrize("connector", SYSTEMS)
def test_events_reach_the_queues_of(connector: str, store: StoreHere, request: pytest.FixtureRequest) -> None:
    server, settings = SYSTEMS[connector]
    options = settings(request.getfixturevalue(server))
    store.writer.connections.put(Connection("bus", connector, options))
    store.writer.events.add([event(ERRORS, "people", {"run": str(n)}) for n in range(3)])
    assert send_waiting(store, store.location) == event_bus.Sending(3)
    assert send_waiting(store, store.location) == event_bus.Sending(0)


def test_a_mistyped_setting_of_the_bus_gets_its_place_and_what_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "events.yaml"
    file.write_text("events:\n  connection: bus\n  optons: {}\n")
    monkeypatch.setenv("BEAM_DATAHUB_EVENTS", str(file))
    with pytest.raises(DataHubError) as raised:
        bus_settings()
    assert raised.value.place == Place(str(file), 3, ("events", "optons"))
    assert "options" in (raised.value.hint or "")
