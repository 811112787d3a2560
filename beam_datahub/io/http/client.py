"""Sends single requests and tells what their answers mean; the only file that speaks HTTP."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Self

import httpx2 as httpx
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client

from beam_datahub.errors import AccessDenied, ConnectorError, TargetUnusable, Transient
from beam_datahub.io.http.connection import HttpConnection
from beam_datahub.security import redact
from beam_datahub.security.secret import known

# It logs the address of each request, which may be secret.
for _name in ("httpx2", "httpcore2"):
    logging.getLogger(_name).setLevel(logging.WARNING)

# How much of an answer is read, and how much of it is told.
_READ_BYTES, _TOLD_LETTERS = 64 * 1024, 300
# What says that a request may go through when it is sent again.
_BUSY = (408, 425, 429)
# A token that runs out so soon is asked for anew.
_EARLY_SECONDS = 30


class Meaning(Enum):
    """What an answer says of a request."""

    TAKEN = "taken"
    REFUSED = "refused"
    AGAIN = "again"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Answer:
    """What became of a request: `told` in words, `wait` the seconds that the service wants to be left alone."""

    meaning: Meaning
    told: str
    wait: float = 0.0


class Client:
    """The connections to one service."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection, self._place = connection, connection.place
        self._tls = connection.tls_context()
        auth, login = connection.auth, None
        self._tokens: _Tokens | None = None
        if auth is not None and auth.type == "basic":
            assert auth.password is not None
            password = auth.password.reveal()
            # A service may repeat what it was sent.
            known.add(base64.b64encode(f"{auth.user}:{password}".encode()).decode())
            login = httpx.BasicAuth(str(auth.user), password)
        elif auth is not None and auth.type == "oauth2":
            self._tokens = _Tokens(connection, self._tls)
        self._client = httpx.Client(
            verify=self._tls,
            auth=login,
            headers={"User-Agent": "beam-datahub", "Accept-Encoding": "identity", **connection.given_headers()},
            timeout=httpx.Timeout(connection.timeout_seconds, connect=connection.connect_timeout_seconds),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def greet(self) -> str:
        """What the service answers when it is only asked whether it is there. Raises ConnectorError."""
        path = self._connection.check_path
        answer, status = self._asked("HEAD" if path is None else "GET", self._connection.address(path or ""), b"", {})
        if status is None or (path is None and status >= 500 and status != 501):
            raise Transient(f"{self._place}: {answer.told}", hint="look at `url`, and whether the service is up")
        if path is not None and answer.meaning is not Meaning.TAKEN:
            raise TargetUnusable(f"{self._place}: {answer.told}", hint="look at `url` and `check_path`")
        return f"answers {status}"

    def send(self, method: str, address: str, body: bytes, headers: Mapping[str, str], *, fixed: bool) -> Answer:
        """Send one request; `fixed`: its address is that of all others. Raises AccessDenied where the login is refused, and
        TargetUnusable where the service takes no such requests at all.
        """
        answer, status = self._asked(method, address, body, headers)
        if status is None or answer.meaning is Meaning.TAKEN:
            return answer
        reason = f"{self._place}: {answer.told}"
        if 300 <= status < 400:
            raise TargetUnusable(reason, hint="requests are not sent on to another address: write that one as `url`")
        if fixed and status in (404, 410):
            raise TargetUnusable(reason, hint="look at `url` and `path`")
        if status == 405:
            raise TargetUnusable(reason, hint="look at `method`, `url` and `path`")
        if status == 415:
            raise TargetUnusable(reason, hint="look at `format`, and at the header Content-Type that the service wants")
        return answer

    def _asked(self, method: str, address: str, body: bytes, headers: Mapping[str, str]) -> tuple[Answer, int | None]:
        answer, status = self._once(method, address, body, headers)
        if status == 401 and self._tokens is not None:
            # A token may be taken back before its time.
            self._tokens.forget()
            answer, status = self._once(method, address, body, headers)
        if status in (401, 403, 407):
            hint = "look at `auth`" if self._connection.auth is not None else "the service wants a login: `auth`"
            if status == 403:
                hint = "the service knows who asks, and does not allow it: look at its rights, and at `auth`"
            raise AccessDenied(f"{self._place}: {answer.told}", hint=hint)
        return answer, status

    def _once(self, method: str, address: str, body: bytes, headers: Mapping[str, str]) -> tuple[Answer, int | None]:
        own = dict(headers)
        if self._tokens is not None:
            own["Authorization"] = f"Bearer {self._tokens.get()}"
        until = time.monotonic() + self._connection.timeout_seconds
        try:
            with self._client.stream(method, address, content=body or None, headers=own) as response:
                text = bytearray()
                for part in response.iter_raw():
                    text += part
                    if len(text) > _READ_BYTES or time.monotonic() > until:
                        break
                return _meant(response, bytes(text)), response.status_code
        except httpx.HTTPError as error:
            return _broken(error, self._connection), None
        except httpx.InvalidURL as error:
            raise TargetUnusable(f"{self._place}: this makes no address", hint="look at `url` and `path`") from error


def _meant(response: httpx.Response, text: bytes) -> Answer:
    status = response.status_code
    if response.is_success:
        return Answer(Meaning.TAKEN, str(status))
    # What a terminal would take for commands is left out.
    letters = (sign if sign.isprintable() else " " for sign in text.decode("utf-8", "replace"))
    words = " ".join("".join(letters).split())
    told = f"the service answers {status} {response.reason_phrase}".rstrip()
    if 300 <= status < 400 and "location" in response.headers:
        words = f"it is at {response.headers['location']}"
    if words:
        told += f": {redact(words)[:_TOLD_LETTERS]}"
    if status in _BUSY or status >= 500:
        return Answer(Meaning.AGAIN, told, _wanted(response.headers.get("retry-after")))
    return Answer(Meaning.REFUSED, told)


def _wanted(text: str | None) -> float:
    """The seconds that a Retry-After asks for, given as seconds or as a moment."""
    if text is None:
        return 0.0
    if text.strip().isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _broken(error: httpx.HTTPError, connection: HttpConnection) -> Answer:
    """What it means that a request got no answer. Raises AccessDenied where TLS is refused."""
    said = redact(str(error)) or type(error).__name__
    if isinstance(error, httpx.ConnectError) and "[SSL" in said:
        raise _tls_refused(connection.place, said) from error
    if isinstance(error, httpx.UnsupportedProtocol):
        raise TargetUnusable(f"{connection.place}: {said}", hint="look at `url`") from error
    if isinstance(error, httpx.ConnectTimeout):
        seconds = f"{connection.connect_timeout_seconds:g}"
        return Answer(Meaning.UNREACHABLE, f"there was no connection within {seconds} seconds")
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return Answer(Meaning.UNREACHABLE, f"there is no connection: {said}")
    if isinstance(error, httpx.TimeoutException):
        return Answer(Meaning.AGAIN, f"there was no answer within {connection.timeout_seconds:g} seconds")
    if "[SSL" in said and "EOF" not in said:
        # A server that wants a certificate says so only behind the handshake.
        raise _tls_refused(connection.place, said) from error
    return Answer(Meaning.AGAIN, f"the connection broke: {said}")


def _tls_refused(place: str, said: str) -> ConnectorError:
    hint = "`tls_ca` names the file of the certificates that signed the service's, whose name has to be the one in `url`"
    if "WRONG_VERSION" in said or "RECORD_LAYER" in said or "HTTP_REQUEST" in said:
        hint = "does the service speak TLS there? look at `url`"
    elif "alert" in said.lower():
        hint = "does the service ask for a certificate? look at `tls_certificate` and `tls_key`"
    return AccessDenied(f"{place}: TLS failed: {said}", hint=hint)


class _Tokens:
    """Tokens by client credentials, one at a time for all threads."""

    def __init__(self, connection: HttpConnection, tls: Any) -> None:
        self._connection, self._tls = connection, tls
        self._lock = threading.Lock()
        self._token: Any = None

    def get(self) -> str:
        """A token that is good for a while. Raises AccessDenied, Transient."""
        with self._lock:
            if self._token is None or self._token.is_expired(leeway=_EARLY_SECONDS):
                self._token = self._fetched()
                known.add(str(self._token["access_token"]))
            return str(self._token["access_token"])

    def forget(self) -> None:
        """Ask for another token next time."""
        with self._lock:
            self._token = None

    def _fetched(self) -> Any:
        auth = self._connection.auth
        assert auth is not None
        assert auth.client_secret is not None
        more = {"audience": auth.audience} if auth.audience is not None else {}
        where = "`auth` (oauth2)"
        try:
            with OAuth2Client(
                auth.client_id,
                auth.client_secret.reveal(),
                scope=auth.scope,
                verify=self._tls,
                timeout=self._connection.timeout_seconds,
            ) as client:
                found = client.fetch_token(auth.token_url, grant_type="client_credentials", **more)
        except OAuthError as error:
            said = redact(": ".join(filter(None, (error.error, error.description))))
            raise AccessDenied(
                f"{where}: no token is given out: {said}", hint="look at `client_id` and `client_secret`"
            ) from error
        except httpx.HTTPStatusError as error:
            raise Transient(f"{where}: the token's service answers {error.response.status_code}") from error
        except httpx.HTTPError as error:
            answer = _broken(error, self._connection)
            raise Transient(f"{where}: {answer.told}", hint="look at `token_url`") from error
        except ValueError as error:
            raise AccessDenied(f"{where}: what is given out is no token", hint="look at `token_url`") from error
        if not found.get("access_token"):
            raise AccessDenied(f"{where}: what is given out is no token", hint="look at `token_url`")
        return found
