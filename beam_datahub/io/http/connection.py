"""Which HTTP service is written to, how one logs in there, and whether it answers."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from beam_datahub.component.client_tls import client_context
from beam_datahub.component.config import Config
from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.file_store import is_url, join
from beam_datahub.component.source import Finding, Report
from beam_datahub.errors import DataHubError, InvalidValue, MissingDependency
from beam_datahub.security import Secret

if TYPE_CHECKING:
    from beam_datahub.io.http.client import Client

# What stands in a request for itself, or must not stand in clear.
_OWN = {"host", "content-length", "transfer-encoding", "connection"}
_SECRET = {"authorization", "proxy-authorization", "cookie"}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_PATH = re.compile(r"[^!-~]|[?#]")
_SIGNS = re.compile(r"[^\t\x20-\x7e]")


class HttpLogin(Config):
    """How one logs in."""

    type: Literal["bearer", "basic", "api_key", "oauth2"]
    """`bearer`: a `token`; `basic`: `user` and `password`; `api_key`: a `token` in the header `header`; `oauth2`: a token that
    `token_url` gives out for `client_id` and `client_secret` (client credentials), and again when it has run out."""

    token: Secret | None = None
    """With `bearer` and `api_key`: the token, as `${secret.NAME}`."""

    header: str | None = None
    """With `api_key`: the header of the token, such as `X-API-Key`."""

    user: str | None = None
    """With `basic`: the name to log in with."""

    password: Secret | None = None
    """With `basic`: its password, as `${secret.NAME}`."""

    token_url: str | None = None
    """With `oauth2`: where tokens are given out."""

    client_id: str | None = None
    """With `oauth2`: who asks for a token."""

    client_secret: Secret | None = None
    """With `oauth2`: the secret of who asks, as `${secret.NAME}`."""

    scope: str | None = None
    """With `oauth2`: what the token is to be good for, where the service wants to know."""

    audience: str | None = None
    """With `oauth2`: whom the token is for, where the service wants to know."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        needed, more = {
            "bearer": ({"token"}, set[str]()),
            "basic": ({"user", "password"}, set[str]()),
            "api_key": ({"token", "header"}, set[str]()),
            "oauth2": ({"token_url", "client_id", "client_secret"}, {"scope", "audience"}),
        }[self.type]
        given = {name for name in type(self).model_fields if name != "type" and getattr(self, name) is not None}
        for name in sorted(needed - given):
            raise ValueError(f"the login `{self.type}` needs `{name}`")
        for name in sorted(given - needed - more):
            raise ValueError(f"the login `{self.type}` has no `{name}`")
        if self.header is not None:
            check_header(self.header)
        if self.token_url is not None:
            _check_url(self.token_url)
        return self


class HttpConnection(Config):
    """An HTTP service, and how it is reached."""

    url: str
    """Its address, such as `https://api.example.com/v1`."""

    secret_path: Secret | None = None
    """What stands behind the `url` where that is itself a secret, as in the addresses of webhooks: `${secret.NAME}`."""

    auth: HttpLogin | None = None
    """How one logs in: `{type: bearer, token: …}`, `{type: basic, user: …, password: …}`, `{type: api_key, header: …, token: …}`
    or `{type: oauth2, token_url: …, client_id: …, client_secret: …, scope: …, audience: …}`; secrets as `${secret.NAME}`."""

    headers: dict[str, Secret | str] = {}
    """Headers of every request; what is secret in them as `${secret.NAME}`."""

    check_path: str | None = None
    """What is asked for (GET) to see whether the service is well and the login good, such as `health`; it has to answer 2xx.
    When left out, any answer to HEAD will do that is no refusal of the login and no failure of the service."""

    tls_ca: str | None = None
    """The file of the certificates that may sign the service's; the system's own when left out."""

    tls_certificate: str | None = None
    """The file of our own certificate, for services that ask for one."""

    tls_key: str | None = None
    """The file of its key."""

    connect_timeout_seconds: float = Field(default=10, gt=0)
    """How long to wait for a connection."""

    timeout_seconds: float = Field(default=60, gt=0)
    """How long to wait for the answer to a request."""

    staging: str = "."
    """The folder or bucket where a run keeps what it writes until it is sent; all workers must reach it."""

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        _check_url(url)
        return url

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, Secret | str]) -> dict[str, Secret | str]:
        for name, value in headers.items():
            check_header(name)
            if name.lower() in _SECRET and isinstance(value, str):
                # The value may be the very secret: the message must not repeat it.
                raise ValueError(f"what the header '{name}' says is secret: write it with ${{secret.NAME}}, or take `auth`")
        return headers

    @model_validator(mode="after")
    def _has_key(self) -> Self:
        if self.tls_key is not None and self.tls_certificate is None:
            raise ValueError("`tls_key` is the key of `tls_certificate`, which is missing")
        return self

    def resolved(self, folder: str) -> HttpConnection:
        """The same connection with relative paths made absolute from `folder`."""
        found = {}
        for name in ("tls_ca", "tls_certificate", "tls_key", "staging"):
            path = getattr(self, name)
            if path is not None and not is_url(path):
                found[name] = join(folder, path) if is_url(folder) else os.path.normpath(os.path.join(folder, path))
        return self.model_copy(update=found)

    @property
    def place(self) -> str:
        """The service."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def shown(self, path: str) -> str:
        """The address of a path, without what is secret in it."""
        return "/".join(filter(None, (self.url.rstrip("/"), path.lstrip("/"))))

    def dataset(self, path: str) -> DatasetName:
        """What is written to, as others call it."""
        below = self.shown(path.partition("?")[0]).removeprefix(self.place)
        return DatasetName(self.place, below.strip("/") or "/")

    def address(self, path: str) -> str:
        """The whole address of a path, in clear. Raises InvalidValue, without the value, where the secret makes none."""
        if self.secret_path is None:
            return self.url if not path else self.shown(path)
        hidden = self.secret_path.reveal()
        if _NO_PATH.search(hidden):
            hint = "look at the secret: files often end with a line break"
            raise InvalidValue("what `secret_path` says has a blank, a line break or another sign that no path has", hint=hint)
        return "/".join(filter(None, (self.url.rstrip("/"), hidden.strip("/"), path.lstrip("/"))))

    def given_headers(self) -> dict[str, str]:
        """The headers of every request, in clear. Raises InvalidValue, without the value, for one that no header can be."""
        found = {name: value.reveal() if isinstance(value, Secret) else value for name, value in self.headers.items()}
        if self.auth is not None and self.auth.token is not None:
            bearer = self.auth.type == "bearer"
            name = "Authorization" if bearer else str(self.auth.header)
            found[name] = ("Bearer " if bearer else "") + self.auth.token.reveal()
        for name, value in found.items():
            if _SIGNS.search(value) or value != value.strip():
                raise InvalidValue(
                    f"what the header '{name}' is to say has a line break, a blank around it or another sign that no header has",
                    hint="look at the secret: files often end with a line break",
                )
        return found

    def tls_context(self) -> ssl.SSLContext:
        """How TLS is spoken. Raises AccessDenied where a file cannot be used."""
        if self.tls_ca is None and self.tls_certificate is None:
            return _system_context()
        return client_context(self.tls_ca, self.tls_certificate, self.tls_key)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """What sends requests; several threads may use it. Raises MissingDependency, InvalidValue, AccessDenied."""
        try:
            from beam_datahub.io.http.client import Client
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"the connector 'http' needs the module '{error.name}'", hint="pip install 'beam-datahub[http]'"
            ) from error
        with Client(self) as client:
            yield client

    def reached(self) -> Report:
        """What `check` tells of a service that answers, and of the login."""
        try:
            with self.client() as client:
                told = client.greet()
        except DataHubError as error:
            return Report((Finding("service", False, error.reason, error.hint),))
        return Report((("service", True, f"{self.place} {told}"),))


@cache
def _system_context() -> ssl.SSLContext:
    """Trusts whom the system trusts; reading its many certificates takes longer than many a commit of a stream."""
    return ssl.create_default_context()


def check_header(name: str) -> None:
    """Refuse what is no name of a header, and those of headers that a request has anyway. Raises ValueError."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header")
    if name.lower() in _OWN:
        raise ValueError(f"the header '{name}' is made by the request itself")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not named or _SIGNS.search(url) or " " in url:
        raise ValueError("an address is written `https://host/path`")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a login is no part of the address: take `auth`")
    if parts.query or parts.fragment:
        raise ValueError("an address has no `?` and no `#`: what stands behind them goes into `path`")
