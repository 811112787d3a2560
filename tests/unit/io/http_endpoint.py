"""An HTTP service on loopback that keeps what it is sent and answers as a test wants it."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR
from typing import Any

KEY = "idempotency-key"


@dataclass(frozen=True)
class Sent:
    """A request as it arrived; the names of `headers` are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def key(self) -> str:
        """What it is known by."""
        return self.headers[KEY]


Answer = int | tuple[int, str] | tuple[int, str, dict[str, str]]


class Endpoint:
    """A service that takes everything, unless `answer` says something else. It can be stopped and started at the same port."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.sent: list[Sent] = []
        self.taken: list[Sent] = []
        self.answer: Callable[[Sent], Answer] = lambda _: 200
        self._tls, self._lock = tls, threading.Lock()
        self._open: set[Any] = set()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Answer from now on."""
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                endpoint._open.add(self.connection)

            def finish(self) -> None:
                endpoint._open.discard(self.connection)
                with suppress(OSError):
                    super().finish()

            def answered(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                if len(body) < length:
                    # The connection broke on the way.
                    self.close_connection = True
                    return
                found = Sent(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                with endpoint._lock:
                    endpoint.sent.append(found)
                answer = endpoint.answer(found)
                status, text, headers = (answer, "", {}) if isinstance(answer, int) else (*answer, {})[:3]
                if 200 <= status < 300:
                    with endpoint._lock:
                        endpoint.taken.append(found)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                data = b"" if self.command == "HEAD" else text.encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answered  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

            def handle_error(self, *_: Any) -> None:
                """Say nothing of connections that break."""

        server = Server(("127.0.0.1", self.port), Handler)
        if self._tls is not None:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.port, self._server = server.server_address[1], server
        threading.Thread(target=server.serve_forever, args=(0.01,), name="endpoint", daemon=True).start()

    def stop(self) -> None:
        """Be gone: connections break, and none is made."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR)


@contextmanager
def endpoint(tls: ssl.SSLContext | None = None) -> Iterator[Endpoint]:
    """A service for a while."""
    found = Endpoint(tls)
    try:
        yield found
    finally:
        found.stop()
