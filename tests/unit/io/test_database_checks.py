"""What `connections test` finds of a database server: what works, and what is missing for what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beam_datahub.component.database_pool import close_pools
from beam_datahub.component.registry import component
from beam_datahub.component.source import Finding, Report
from beam_datahub.security import Secret
from tests.unit.io.database_systems import System, made


@pytest.fixture(params=["postgresql", "mysql"])
def system(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[System]:
    """An empty database of a server."""
    yield made(request.param, tmp_path, request)
    close_pools()


def found(report: Report) -> dict[str, Finding]:
    return {each.what: each for each in report.findings}


def reader(system: System, *rights: str) -> System:
    """The same database as somebody who may do little."""
    url, name = system.connection["url"], f"reader_{abs(hash(system.connection['url'])) % 10**8}"
    if system.connector == "postgresql":
        system.run("create table t (k int, v int)", f"create role {name} login", *(each.format(name) for each in rights))
        return System("postgresql", {"url": url.replace("postgres@", f"{name}@")})
    database = url.rpartition("/")[2]
    account = f"'{name}'@'127.0.0.1'"
    system.run("create table t (k int, v int)", f"create user {account} identified by 'right'")
    system.run(f"grant usage on *.* to {account}", *(each.format(f"{account}") for each in rights))
    system.run(f"grant select on {database}.t to {account}")
    return System("mysql", {"url": url.replace("root@", f"{name}@"), "password": Secret("right")})


def test_a_server_tells_what_works(system: System) -> None:
    system.run("create table t (k int, v int)")
    report = found(system.source(table="t").check())
    assert all(each.fine for each in report.values()), report
    assert report["TLS"].detail == "not encrypted, on this machine"
    assert set(report) >= {"server", "TLS", "login", "schema", "log", "replication", "right to read"}
    written = found(system.sink(table="t").check())
    assert written["right to write"].fine
    assert system.staging() == []


def test_a_reader_is_told_what_it_may_not(system: System) -> None:
    rights = ("grant select on t to {}", "revoke create on schema public from public") if system.connector == "postgresql" else ()
    other = reader(system, *rights)
    read = other.source(table="t").check()
    assert read.fine
    missing = {each.what: each for each in read.findings if not each.fine}
    assert set(missing) == {"schema", "replication"}
    assert "only destinations need it" in str(missing["schema"].hint)
    assert "only change data capture needs it" in str(missing["replication"].hint)
    assert not any(each.needed for each in missing.values())
    written = other.sink(table="t").check()
    assert not written.fine
    assert other.source(table="nowhere").check().fine is False


def test_a_table_that_may_be_read_and_not_written_is_told(system: System) -> None:
    if system.connector == "postgresql":
        other = reader(system, "grant select on t to {}", "grant create on schema public to {}")
    else:
        other = reader(system, "grant create, drop on *.* to {}")
    findings = found(other.sink(table="t").check())
    assert not findings["rights"].fine
    assert "t" in findings["rights"].detail
    assert findings["rights"].hint


def test_a_server_that_is_not_there_is_told_with_what_to_do() -> None:
    for name in ("postgresql", "mysql"):
        kind: Any = component("source", name)
        source = kind(kind.Connection(host="127.0.0.1", port=1, connect_timeout_seconds=1), kind.Options(table="t"))
        (reach,) = source.reach().findings
        assert (reach.what, reach.fine, reach.needed) == ("reach", False, True)
        assert reach.hint
