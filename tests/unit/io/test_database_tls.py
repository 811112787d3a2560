"""Encrypted connections to servers with good and bad certificates, and wrong passwords: what goes through, and what is said."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.registry import component
from beam_datahub.component.source import Finding
from beam_datahub.errors import AccessDenied, DataHubError, Transient
from beam_datahub.security import Secret
from tests.conftest import service_output
from tests.unit.io.database_systems import mysql_client

PASSWORD = "the right one"
CERTIFICATES = ("good", "expired", "elsewhere")


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name, self.key = folder, name, ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = self._builder(self.subject, self.key.public_key(), 3650).add_extension(constraints, True)
        self.certificate = builder.add_extension(usage, True).sign(self.key, hashes.SHA256())
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: Any, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.subject).public_key(key)
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=9))
        return builder.not_valid_after(now + datetime.timedelta(days=days))

    def sign(self, name: str, host: str, days: int) -> None:
        """Write `NAME.crt` and `NAME.key` for a server at `host`, valid for so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        if host == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        builder = self._builder(subject, key.public_key(), days).add_extension(x509.SubjectAlternativeName(names), False)
        found = builder.sign(self.key, hashes.SHA256())
        (self.folder / f"{name}.crt").write_bytes(found.public_bytes(serialization.Encoding.PEM))
        encoding, form, none = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (self.folder / f"{name}.key").write_bytes(key.private_bytes(encoding, form, none))


@pytest.fixture(scope="module")
def certificates() -> Iterator[Path]:
    """A folder with `ca.pem`, `other.pem`, and certificates of servers that `ca` signed."""
    folder = Path(tempfile.mkdtemp(prefix="beam-datahub-tls-"))
    folder.chmod(0o755)
    authority = Authority(folder, "ca")
    Authority(folder, "other")
    authority.sign("good", "localhost", 30)
    authority.sign("expired", "localhost", -1)
    authority.sign("elsewhere", "db.example.com", 30)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Secured:
    """A server that asks for a password, and shows one of the certificates."""

    connector: str
    url: str
    certificates: Path
    folder: Path

    def show(self, certificate: str) -> None:
        """Show this certificate from now on; "" is none."""
        close_pools()
        if self.connector == "postgresql":
            import psycopg

            with psycopg.connect(self.url, autocommit=True) as server:
                files = {"ssl_cert_file": f"{certificate}.crt", "ssl_key_file": f"{certificate}.key"} if certificate else {}
                for name, file in files.items():
                    server.execute(f"alter system set {name} = '{self.folder / file}'".encode())
                server.execute(f"alter system set ssl = {'on' if certificate else 'off'}".encode())
                server.execute("select pg_reload_conf()")
            return
        for end in ("crt", "key"):
            shutil.copyfile(self.certificates / f"{certificate}.{end}", self.folder / f"server.{end}")
        with mysql_client(self.url) as server, server.cursor() as cursor:
            cursor.execute("flush ssl")

    def reach(self, **settings: Any) -> list[Finding]:
        """What a check with these settings finds."""
        place = urlsplit(self.url)
        kind: Any = component("source", self.connector)
        database = {"database": "postgres"} if self.connector == "postgresql" else {}
        known = {"host": "localhost", "port": place.port, "user": "secured", "password": Secret(PASSWORD), **database}
        connection = kind.Connection(**{**known, **settings})
        found = kind(connection, kind.Options(table="t")).reach().findings
        close_pools()
        return list(found)

    def refusal(self, **settings: Any) -> DataHubError:
        """What opening a connection raises."""
        place = urlsplit(self.url)
        kind: Any = component("source", self.connector)
        database = {"database": "postgres"} if self.connector == "postgresql" else {}
        known = {"host": "localhost", "port": place.port, "user": "secured", "password": Secret(PASSWORD), **database}
        with pytest.raises(DataHubError) as raised:
            kind.Connection(**{**known, **settings}).open()
        assert PASSWORD not in str(raised.value)
        return raised.value

    def encryption(self, **settings: Any) -> str:
        """How a connection with these settings is encrypted."""
        return next(each.detail for each in self.reach(**settings) if each.what == "TLS")


@pytest.fixture(params=["postgresql", "mysql"], scope="module")
def secured(request: pytest.FixtureRequest, certificates: Path) -> Iterator[Secured]:
    """A server with TLS that asks for a password."""
    if request.param == "postgresql":
        yield from _postgresql(request.getfixturevalue("postgresql"), certificates)
    else:
        yield from _mariadb(certificates)
    close_pools()


def _postgresql(url: str, certificates: Path) -> Iterator[Secured]:
    import psycopg

    folder = Path(tempfile.mkdtemp(prefix="beam-datahub-keys-"))
    folder.chmod(0o755)
    try:
        with psycopg.connect(url, autocommit=True) as server:
            rules = Path(str(server.execute("show hba_file").fetchone()[0]))  # type: ignore[index]
            owner = rules.stat()
            for name in CERTIFICATES:
                for end in ("crt", "key"):
                    path = folder / f"{name}.{end}"
                    shutil.copyfile(certificates / path.name, path)
                    path.chmod(0o600)
                    if os.geteuid() == 0:
                        os.chown(path, owner.st_uid, owner.st_gid)
            before = rules.read_text()
            rules.write_text(f"host all secured 127.0.0.1/32 scram-sha-256\nhost all secured ::1/128 scram-sha-256\n{before}")
            server.execute("drop role if exists secured")
            server.execute(f"create role secured login password '{PASSWORD}'".encode())
            server.execute("select pg_reload_conf()")
        found = Secured("postgresql", url, certificates, folder)
        yield found
        rules.write_text(before)
        found.show("")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _mariadb(certificates: Path) -> Iterator[Secured]:
    folder = Path(tempfile.mkdtemp(prefix="beam-datahub-mariadb-"))
    folder.chmod(0o755)
    for end in ("crt", "key"):
        shutil.copyfile(certificates / f"good.{end}", folder / f"server.{end}")
        (folder / f"server.{end}").chmod(0o644)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MARIADB_OPTIONS", f"--ssl-cert={folder}/server.crt --ssl-key={folder}/server.key")
            url = service_output("mariadb", "start", str(folder))
        with mysql_client(url) as server, server.cursor() as cursor:
            for host in ("127.0.0.1", "::1"):
                cursor.execute(f"create user 'secured'@'{host}' identified by '{PASSWORD}'")
        yield Secured("mysql", url, certificates, folder)
    finally:
        service_output("mariadb", "stop", str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def test_each_mode_of_tls_goes_through_with_a_good_certificate(secured: Secured) -> None:
    secured.show("good")
    authority = str(secured.certificates / "ca.pem")
    assert secured.encryption(tls="disable").startswith("not encrypted")
    for settings in ({}, {"tls": "require"}, *({"tls": mode, "tls_ca": authority} for mode in ("verify-ca", "verify-full"))):
        assert secured.encryption(**settings).startswith("TLS"), settings


def test_a_certificate_that_somebody_else_signed_is_refused(secured: Secured) -> None:
    secured.show("good")
    for mode in ("verify-ca", "verify-full"):
        refused = secured.refusal(tls=mode, tls_ca=str(secured.certificates / "other.pem"))
        assert isinstance(refused, AccessDenied)
        assert "certificate" in refused.reason
        assert "`tls_ca` must name the file of the certificates that signed the server's" in str(refused.hint)
    assert secured.encryption(tls="require").startswith("TLS")


def test_an_expired_certificate_is_refused_and_said_to_be(secured: Secured) -> None:
    secured.show("expired")
    refused = secured.refusal(tls="verify-full", tls_ca=str(secured.certificates / "ca.pem"))
    assert isinstance(refused, AccessDenied)
    assert "expired" in str(refused.hint)
    assert secured.encryption(tls="require").startswith("TLS")


def test_a_certificate_of_another_host_is_refused_where_the_name_counts(secured: Secured) -> None:
    secured.show("elsewhere")
    authority = str(secured.certificates / "ca.pem")
    refused = secured.refusal(tls="verify-full", tls_ca=authority)
    assert isinstance(refused, AccessDenied)
    assert "`host` must be a name in the server's certificate" in str(refused.hint)
    assert secured.encryption(tls="verify-ca", tls_ca=authority).startswith("TLS")


def test_a_file_of_certificates_that_is_not_there_is_named(secured: Secured) -> None:
    secured.show("good")
    refused = secured.refusal(tls="verify-ca", tls_ca="/nowhere/ca.pem")
    assert "`tls_ca`" in str(refused.hint), refused


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(request: pytest.FixtureRequest, secured: Secured) -> None:
    if secured.connector == "postgresql":
        secured.show("")
        refused = secured.refusal(tls="require")
    else:
        kind: Any = component("source", "mysql")
        url = urlsplit(request.getfixturevalue("mariadb"))
        with pytest.raises(DataHubError) as raised:
            kind.Connection(host="127.0.0.1", port=url.port, user="root", tls="require").open()
        refused = raised.value
    assert isinstance(refused, AccessDenied)
    assert "the server offers no TLS" in str(refused.hint)


def test_a_wrong_password_is_said_to_be_wrong_at_once(secured: Secured) -> None:
    secured.show("good")
    for settings in ({"password": Secret("the wrong one")}, {"user": "nobody-here"}):
        if settings.get("user") and secured.connector == "postgresql":
            # Who is not named there is trusted by the test's server.
            continue
        refused = secured.refusal(**settings)
        assert isinstance(refused, AccessDenied)
        assert not isinstance(refused, Transient)
        assert "password" in str(refused.hint)
        assert "the wrong one" not in f"{refused}{refused.hint}"
    (found,) = secured.reach(password=Secret("the wrong one"))
    assert (found.what, found.fine) == ("reach", False)


def test_a_statement_that_takes_too_long_is_ended_by_the_server(secured: Secured) -> None:
    secured.show("good")
    place = urlsplit(secured.url)
    kind: Any = component("source", secured.connector)
    database = {"database": "postgres"} if secured.connector == "postgresql" else {}
    known = {"host": "localhost", "port": place.port, "user": "secured", "password": Secret(PASSWORD), **database}
    session = kind.Connection(**known, statement_timeout_seconds=1).open()
    slow = "select pg_sleep(60)" if secured.connector == "postgresql" else "select sleep(60) from information_schema.tables"
    with pytest.raises(Transient, match="time"):
        session.fetch(slow)
    session.close()


@contextmanager
def listener(certificates: Path, name: str) -> Iterator[tuple[int, list[object]]]:
    """The port of a server that shows a certificate and says no more, and who came."""
    came: list[object] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / f"{name}.crt", certificates / f"{name}.key")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def shake() -> None:
            while True:
                try:
                    near, address = server.accept()
                except OSError:
                    return
                came.append(address)
                with near, suppress(OSError), context.wrap_socket(near, server_side=True):
                    pass

        threading.Thread(target=shake, daemon=True).start()
        yield server.getsockname()[1], came
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("connector", ["mongodb", "redis"])
def test_an_expired_certificate_is_no_outage_that_is_waited_for(connector: str, certificates: Path) -> None:
    kind: Any = component("source", connector)
    where = {"mongodb": {"database": "shop", "connect_timeout_seconds": 1}, "redis": {}}[connector]
    options = {"mongodb": {"collection": "t"}, "redis": {"pattern": "t:*"}}[connector]
    with listener(certificates, "expired") as (port, came):
        connection = kind.Connection(host="localhost", port=port, tls_ca=str(certificates / "ca.pem"), **where)
        source = kind(connection, kind.Options(**options))
        with pytest.raises(AccessDenied) as raised:
            source.discover()
        if connector == "redis":
            assert len(came) == 1
        (found,) = source.reach().findings
    assert "the server's certificate has expired" in str(raised.value.hint)
    assert not found.fine
    assert "certificate has expired" in found.detail
