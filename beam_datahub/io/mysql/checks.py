"""What a MySQL server says of itself and of what we may do there."""

from __future__ import annotations

from beam_datahub.component.database import Session
from beam_datahub.component.source import Finding
from beam_datahub.errors import DataHubError
from beam_datahub.io.mysql.session import MysqlSession

_PURPOSE = "only change data capture needs it"
# What a binary log must be written like, so that changes can be read off it: variable, value, what it means otherwise.
_LOG = (("binlog_format", "ROW"), ("binlog_row_image", "FULL"))


def reached(session: Session) -> list[Finding]:
    """The server's version, who we are there, whether the connection is encrypted, how rows are loaded, and what may be made and
    followed.
    """
    assert isinstance(session, MysqlSession)
    user, database, files = session.fetch("SELECT CURRENT_USER(), DATABASE(), @@local_infile")[0]
    cipher = _variable(session, "STATUS", "Ssl_cipher")
    tls = (
        f"{_variable(session, 'STATUS', 'Ssl_version')}, {cipher}"
        if cipher
        else "not encrypted" + (", on this machine" if session.is_local else "")
    )
    safe = bool(cipher) or session.is_local
    rights = _rights(session)
    creates = rights is None or "CREATE" in rights
    grant = f"grant create, drop, alter, insert, update, delete on `{database}`.* to {_account(user)}; only destinations need it"
    loading = "LOAD DATA" if files else "INSERT"
    return [
        Finding("server", True, session.version()),
        Finding("TLS", safe, tls, "set `tls: verify-full`: passwords and data can be listened to", False),
        Finding("login", True, f"{user} at {database or 'no database'}"),
        Finding("loading", bool(files), loading, "set global local_infile = on: loading is faster then", False),
        Finding(
            "schema",
            creates,
            f"tables can{'' if creates else 'not'} be made in '{database or 'a database that is named'}'",
            grant,
            False,
        ),
        *_replication(session, user, rights),
    ]


def _replication(session: MysqlSession, user: str, rights: set[str] | None) -> list[Finding]:
    """What stands in the way of following the server's changes."""
    values = {name: _variable(session, "VARIABLES", name) or "?" for name, _ in _LOG}
    on = _variable(session, "VARIABLES", "log_bin") == "ON"
    wrong = [f"{name}={wanted}" for name, wanted in _LOG if values[name] != wanted]
    told = ", ".join(f"{name} is {value}" for name, value in values.items())
    log = on and not wrong
    needed = "start the server with --log-bin and --server-id" if not on else f"set global {', '.join(wrong)}"
    # Older servers call the second one REPLICATION CLIENT.
    may = rights is None or ("REPLICATION SLAVE" in rights and bool({"REPLICATION CLIENT", "BINLOG MONITOR"} & rights))
    grant = f"grant replication slave, replication client on *.* to {_account(user)}"
    return [
        Finding("log", log, f"the binary log is {'on' if on else 'off'}, {told}", f"{needed}; {_PURPOSE}", False),
        Finding("replication", may, f"{user} may {'' if may else 'not '}replicate", f"{grant}; {_PURPOSE}", False),
    ]


def _variable(session: MysqlSession, kind: str, name: str) -> str:
    return next((str(value) for _, value in session.fetch(f"SHOW SESSION {kind} LIKE '{name}'")), "")


def _rights(session: MysqlSession) -> set[str] | None:
    """The rights on everything, and on the tables of the database; None where the server does not tell."""
    account = "CONCAT('''', REPLACE(CURRENT_USER(), '@', '''@'''), '''')"
    try:
        rows = session.fetch(
            f"SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = {account} UNION "
            f"SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES WHERE GRANTEE = {account} "
            "AND DATABASE() LIKE TABLE_SCHEMA"
        )
    except DataHubError:
        return None
    return {str(right).upper() for (right,) in rows}


def _account(user: str) -> str:
    name, _, host = user.rpartition("@")
    return f"'{name}'@'{host}'"
