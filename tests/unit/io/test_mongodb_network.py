"""MongoDB behind TLS, behind a login that fails, and behind a network that is slow.

The server that can be had for tests knows neither TLS nor logins: what stands between it and the client has them.
"""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from beam_datahub.component.registry import component
from beam_datahub.component.source import ReadRequest, Source
from beam_datahub.errors import AccessDenied, Transient
from beam_datahub.io.mongodb import connection as mongodb_connection
from beam_datahub.security import Secret
from beam_datahub.testing.connectors import read
from tests.conftest import MongodbServer
from tests.unit.io.change_logs import Runs
from tests.unit.io.mongodb_collections import Store
from tests.unit.io.test_database_tls import Authority

SOURCES = ("mongodb", "mongodb_cdc")
_MESSAGE, _HEADER = 2013, 16


class Between:
    """Stands between clients and a server: it ends their TLS where it has a `context`, refuses each login, and holds answers back
    while it is not `passing`; `holding` says that it has one.
    """

    def __init__(self, address: str, context: ssl.SSLContext | None = None) -> None:
        host, port = address.split(":")
        self._server, self._context = (host, int(port)), context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.passing, self.holding = threading.Event(), threading.Event()
        self.logins = 0
        self.passing.set()
        self._run(self._accept)

    def close(self) -> None:
        self.passing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self, work: Any, *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._run(self._meet, self._listener.accept()[0])

    def _meet(self, near: socket.socket) -> None:
        with suppress(OSError):
            if self._context is not None:
                near = self._context.wrap_socket(near, server_side=True)
            far = socket.create_connection(self._server)
            self._run(self._answers, far, near)
            with near, far:
                while data := _message(near):
                    if (refusal := _refusal(data)) is not None:
                        self.logins += 1
                        near.sendall(refusal)
                    else:
                        far.sendall(data)

    def _answers(self, far: socket.socket, near: socket.socket) -> None:
        with suppress(OSError), near, far:
            while data := _message(far):
                if not self.passing.is_set():
                    self.holding.set()
                self.passing.wait()
                near.sendall(data)


def _message(end: socket.socket) -> bytes:
    """The next message of MongoDB's protocol, which begins with its length; nothing where the other side is gone."""
    data = b""
    size = _HEADER
    while len(data) < size:
        more = end.recv(size - len(data))
        if not more:
            return b""
        data += more
        if len(data) >= 4:
            size = struct.unpack_from("<i", data)[0]
    return data


def _refusal(message: bytes) -> bytes | None:
    """What a server answers to a login that fails; None for what is no login."""
    import bson

    _, number, _, kind = struct.unpack_from("<iiii", message)
    if kind != _MESSAGE or b"saslStart\0" not in message:
        return None
    answer = bson.encode({"ok": 0.0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed."})
    body = struct.pack("<iB", 0, 0) + answer
    return struct.pack("<iiii", _HEADER + len(body), 1, number, _MESSAGE) + body


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="beam-datahub-tls-"))
    Authority(folder, "ca").sign("good", "localhost", 30)
    Authority(folder, "other")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def store(mongodb: MongodbServer) -> Iterator[Store]:
    found = Store(mongodb)
    found.database["t"].insert_many([{"_id": i, "name": f"n{i}"} for i in range(5)])
    yield found
    found.client.drop_database(found.name)
    found.client.close()
    # Their servers are gone, and the same port may come again.
    mongodb_connection.close_clients()
    mongodb_connection._clients.clear()


@pytest.fixture
def plain(store: Store) -> Iterator[Between]:
    between = Between(store.server.address)
    yield between
    between.close()


@pytest.fixture
def secured(store: Store, certificates: Path) -> Iterator[Between]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "good.crt", certificates / "good.key")
    between = Between(store.server.address, context)
    yield between
    between.close()


def source(connector: str, store: Store, between: Between, **connection: Any) -> Source:
    kind: Any = component("source", connector)
    options = {"changes": "rows"} if connector == "mongodb_cdc" else {}
    reach = kind.Connection(host="localhost", port=between.port, database=store.name, **connection)
    found: Source = kind(reach, kind.Options(collection="t", **options))
    return found


def ids(found: Source) -> list[int]:
    table = Runs(found).read() if found.name == "mongodb_cdc" else read(found).table
    return sorted(table["_id"].to_pylist())


@pytest.mark.parametrize("connector", SOURCES)
def test_documents_and_changes_come_through_tls(connector: str, store: Store, secured: Between, certificates: Path) -> None:
    found = source(connector, store, secured, tls_ca=str(certificates / "ca.pem"))
    assert ids(found) == [0, 1, 2, 3, 4]
    report = found.reach()
    assert report is not None
    assert report.findings[0].detail.endswith(", encrypted")


@pytest.mark.parametrize("connector", SOURCES)
def test_a_certificate_that_somebody_else_signed_is_refused(
    connector: str, store: Store, secured: Between, certificates: Path
) -> None:
    found = source(connector, store, secured, tls_ca=str(certificates / "other.pem"), connect_timeout_seconds=1)
    with pytest.raises(AccessDenied, match="certificate verify failed") as raised:
        found.discover()
    assert "`tls_ca`" in str(raised.value.hint)


@pytest.mark.parametrize("option", ["tls_ca", "tls_certificate"])
def test_a_file_of_certificates_that_is_not_there_is_told(option: str, store: Store, secured: Between) -> None:
    with pytest.raises(AccessDenied, match="the TLS files cannot be used") as raised:
        source("mongodb_cdc", store, secured, **{option: "/no/such/file.pem"}).discover()
    assert "`tls_…`" in str(raised.value.hint)


@pytest.mark.parametrize("connector", SOURCES)
def test_a_wrong_password_is_told_and_not_shown(connector: str, store: Store, plain: Between) -> None:
    found = source(connector, store, plain, user="etl", password=Secret("hunter2"))
    with pytest.raises(AccessDenied, match="Authentication failed") as raised:
        found.discover()
    assert "`user`, `password` and `auth_database`" in str(raised.value.hint)
    assert plain.logins > 0
    report = found.reach()
    assert report is not None
    assert not report.fine
    assert "hunter2" not in f"{raised.value} {raised.value.__cause__} {report} {found.connection!r}"


@pytest.mark.parametrize("connector", SOURCES)
def test_a_slow_server_is_waited_for(connector: str, store: Store, plain: Between) -> None:
    found = source(connector, store, plain)
    schema = found.discover().schema
    plain.passing.clear()
    came: list[list[int]] = []
    reader = threading.Thread(target=lambda: came.append(ids(found)), daemon=True)
    reader.start()
    assert plain.holding.wait(60)
    assert came == []
    plain.passing.set()
    reader.join(60)
    assert came == [[0, 1, 2, 3, 4]]
    assert found.discover().schema == schema


@pytest.mark.parametrize("connector", SOURCES)
def test_a_server_is_waited_for_no_longer_than_is_said_and_read_whole_afterwards(
    connector: str, store: Store, plain: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beam_datahub.component.database._ATTEMPTS", 1)
    found = source(connector, store, plain, timeout_seconds=1, connect_timeout_seconds=1)
    schema = found.discover().schema
    plain.passing.clear()
    with pytest.raises(Transient, match=r"timed out|no server answers|stopped answering"):
        list(found.splits(ReadRequest(schema, tuple(schema.names))))
    plain.passing.set()
    again = source(connector, store, plain)
    assert ids(again) == [0, 1, 2, 3, 4]
