"""What a PostgreSQL server says of itself and of what we may do there."""

from __future__ import annotations

from beam_datahub.component.database import Session
from beam_datahub.component.source import Finding

# Addresses between which nobody else can listen.
_LOCAL = ("127.0.0.1", "::1", "localhost")


def reached(session: Session) -> list[Finding]:
    """The server's version, who we are there, whether the connection is encrypted, and what may be made and followed."""
    version, user, database, schema, creates, address = session.fetch(
        "SELECT current_setting('server_version'), current_user, current_database(), current_schema(), "
        "coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), host(inet_client_addr())"
    )[0]
    schema_text = schema or "no schema of its search_path"
    grant = f'grant create on schema {schema or "public"} to "{user}"; only destinations need it'
    return [
        Finding("server", True, f"PostgreSQL {version}"),
        _encryption(session, address is None or address in _LOCAL),
        Finding("login", True, f"{user} at {database}"),
        Finding(
            "schema",
            creates,
            f"tables can{'' if creates else 'not'} be made in '{schema_text}'",
            None if creates else grant,
            False,
        ),
        *_replication(session, user),
    ]


def _encryption(session: Session, local: bool) -> Finding:
    found = session.fetch("SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl")
    if found:
        return Finding("TLS", True, f"{found[0][0]}, {found[0][1]}")
    hint = "set `tls: verify-full`: passwords and data can be listened to on the way"
    return Finding("TLS", local, "not encrypted" + (", on this machine" if local else ""), hint, False)


def _replication(session: Session, user: str) -> list[Finding]:
    """What stands in the way of following the server's changes."""
    level, replicates, most, used = session.fetch(
        "SELECT current_setting('wal_level'), (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), "
        "current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_replication_slots)"
    )[0]
    log, free = level == "logical", max(0, most - used)
    purpose = "only change data capture needs it"
    return [
        Finding("log", log, f"wal_level is {level}", f"wal_level = logical in postgresql.conf; {purpose}", False),
        Finding(
            "replication",
            bool(replicates),
            f"{user} may {'' if replicates else 'not '}replicate",
            f'alter role "{user}" replication; {purpose}',
            False,
        ),
        Finding(
            "slots",
            free > 0,
            f"{free} of {most} replication slots are free",
            f"drop a slot that nobody uses, or raise max_replication_slots; {purpose}",
            False,
        ),
    ]
