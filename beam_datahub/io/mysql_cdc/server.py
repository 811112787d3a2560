"""What a MySQL server has of its binary log, and the snapshot that comes before it."""

from __future__ import annotations

import atexit
import itertools
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from beam_datahub.component.database import TableName
from beam_datahub.errors import AccessDenied, ConnectorError, DataHubError, InvalidValue, SourceMissing, UnreadableData
from beam_datahub.io.mysql.connection import MysqlConnection
from beam_datahub.io.mysql.session import MysqlSession
from beam_datahub.io.mysql_cdc.options import MysqlCdcOptions
from beam_datahub.io.mysql_cdc.position import Position, number_of

ANEW = "read everything again: beam-datahub run SPEC --full, with `write_mode: overwrite` or into an empty destination"
# What a server must be set to, for its log to say all of each change.
_SETTINGS = (
    ("log_bin", "ON", "start it with --log-bin"),
    ("binlog_format", "ROW", "SET GLOBAL binlog_format = ROW"),
    ("binlog_row_image", "FULL", "SET GLOBAL binlog_row_image = FULL"),
    ("binlog_row_metadata", "FULL", "SET GLOBAL binlog_row_metadata = FULL"),
    ("log_bin_compress", "OFF", "SET GLOBAL log_bin_compress = OFF"),
    ("binlog_transaction_compression", "OFF", "SET GLOBAL binlog_transaction_compression = OFF"),
)
_GRANT = "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the account"


def refuse_impossible(session: MysqlSession) -> None:
    """Raise where the server's log does not say all of each change. Raises InvalidValue."""
    names = ", ".join(session.dialect.literal(name) for name, _, _ in _SETTINGS)
    found = {name: str(value).upper() for name, value in session.fetch(f"SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")}
    for name, wanted, hint in _SETTINGS:
        there = found.get(name, wanted if wanted == "OFF" else "not known")
        if there.replace("FULL_NODUP", "FULL") != wanted:
            raise InvalidValue(
                f"the server's {name} is {there}, changes need {wanted}", hint=f"{hint}; sessions that are open keep theirs"
            )


def is_mariadb(session: MysqlSession) -> bool:
    """Whether it is MariaDB."""
    return "MariaDB" in session.version()


def here(session: MysqlSession) -> Position:
    """The end of the log. Raises AccessDenied, InvalidValue."""
    try:
        try:
            rows = session.fetch("SHOW MASTER STATUS")
        except InvalidValue:
            rows = session.fetch("SHOW BINARY LOG STATUS")
    except AccessDenied as error:
        error.hint = _GRANT
        raise
    if not rows:
        raise InvalidValue("the server keeps no binary log", hint="start it with --log-bin")
    file, offset = str(rows[0][0]), int(rows[0][1])
    gtid = str(rows[0][4]).replace("\n", "") if len(rows[0]) > 4 else ""
    return Position(file, offset, _gtid(session, file, offset) if is_mariadb(session) else gtid or None)


def _gtid(session: MysqlSession, file: str, offset: int) -> str | None:
    """MariaDB's GTIDs up to a place."""
    found = session.fetch(f"SELECT BINLOG_GTID_POS({session.dialect.literal(file)}, {offset})")[0][0]
    return str(found) if found else None


def with_gtid(session: MysqlSession, place: tuple[str, int]) -> Position:
    """A place of MariaDB's log with its GTIDs."""
    return Position(*place, _gtid(session, *place))


def on_this_server(session: MysqlSession, position: Position) -> Position:
    """A position by file and offset alone where those are this server's own, else by its GTIDs."""
    if position.gtid is None or not is_mariadb(session):
        return position
    files = {str(row[0]) for row in session.fetch("SHOW BINARY LOGS")}
    if position.file in files and _gtid(session, position.file, position.offset) == position.gtid:
        return Position(position.file, position.offset)
    return position


def lag(session: MysqlSession, position: Position) -> int | None:
    """How many bytes of the log lie behind a position; None where its file is not there."""
    try:
        files = {str(row[0]): int(row[1]) for row in session.fetch("SHOW BINARY LOGS")}
    except AccessDenied as error:
        error.hint = _GRANT
        raise
    if position.file not in files:
        return None
    behind = sum(size for file, size in files.items() if number_of(file) >= number_of(position.file))
    return behind - position.offset


def refuse_purged(session: MysqlSession, position: Position) -> None:
    """Raise where the server has removed what is to be read, which only file and offset tell. Raises UnreadableData."""
    if position.gtid is None and lag(session, position) is None:
        raise purged(position)


def purged(position: Position) -> UnreadableData:
    """The server has removed what was not read."""
    return UnreadableData(
        f"the server has removed its log behind {position}, before it was read: changes are lost",
        hint=f"{ANEW}; keep the log longer (binlog_expire_logs_seconds), or run more often",
    )


def kept(session: MysqlSession) -> str:
    """How long the server keeps its log, in words."""
    rows = session.fetch("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('binlog_expire_logs_seconds', 'expire_logs_days')")
    seconds = max((int(float(value) * (86400 if "days" in name else 1)) for name, value in rows), default=0)
    return f"its log is kept for {seconds / 86400:.3g} days" if seconds else "its log is kept until it is purged"


def tables_of(session: MysqlSession, options: MysqlCdcOptions) -> list[TableName]:
    """The tables that are read, with their databases. Raises SourceMissing, InvalidValue."""
    text = session.dialect.literal
    found: list[TableName] = []
    for name in [options.table] if options.table is not None else options.tables or []:
        table = TableName.parse(name.removesuffix(".*"))
        if name.endswith(".*"):
            ours = "LEFT(TABLE_NAME, 14) = '_beam_datahub_' OR LEFT(TABLE_NAME, 4) = '_dh_'"
            where = f"TABLE_SCHEMA = {text(table.name)} AND NOT ({ours})"
        else:
            schema = "DATABASE()" if table.schema is None else text(table.schema)
            where = f"TABLE_SCHEMA = {schema} AND TABLE_NAME = {text(table.name)}"
        rows = session.fetch(
            "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES "
            f"WHERE TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') AND {where} ORDER BY 2"
        )
        if not rows:
            raise SourceMissing(f"there is no table '{name}'", hint="look at its name and its database; views have no changes")
        found += [TableName(own, schema) for schema, own in rows]
    return list(dict.fromkeys(found))


# the first snapshot


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that a connection of this process keeps open: its number, and the place in the log that it stands for."""

    number: int
    position: Position
    time: int


_holding: dict[int, tuple[MysqlSession, int]] = {}
_numbers = itertools.count()
_lock = threading.Lock()


def taken(connection: MysqlConnection, tables: Sequence[TableName]) -> Snapshot:
    """A snapshot that stays until all tables were read of it. Raises ConnectorError."""
    holder = connection.open()
    try:
        for table in tables:
            if not holder.keeps_transactions(table):
                raise InvalidValue(
                    f"the table '{table}' keeps no transactions: no snapshot of it fits the log",
                    hint="ALTER TABLE … ENGINE=InnoDB",
                )
        holder.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        position = _begun(connection, holder, tables)
        moment = int(holder.fetch("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)")[0][0])
    except BaseException:
        holder.close()
        raise
    with _lock:
        number = next(_numbers)
        _holding[number] = (holder, len(tables))
    return Snapshot(number, position, moment)


def _begun(connection: MysqlConnection, holder: MysqlSession, tables: Sequence[TableName]) -> Position:
    """Begin the transaction that reads; gives the place in the log that it stands for."""
    begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT"
    if is_mariadb(holder):
        # The server itself says where the snapshot stands.
        holder.execute(begin)
        known = {str(name).lower(): value for name, value in holder.fetch("SHOW STATUS LIKE 'binlog_snapshot_%'")}
        file, offset = str(known.get("binlog_snapshot_file", "")), int(known.get("binlog_snapshot_position", 0))
        if file:
            return Position(file, offset, _gtid(holder, file, offset))
        holder.execute("ROLLBACK")
    # While nobody can write to the tables, the snapshot and the end of the log are of one moment.
    locker = connection.open()
    try:
        locker.execute("LOCK TABLES " + ", ".join(f"{holder.dialect.table(table)} READ" for table in tables))
        holder.execute(begin)
        return here(locker)
    finally:
        locker.close()


def holder_of(snapshot: Snapshot) -> MysqlSession:
    """The connection that sees a snapshot. Raises ConnectorError where another process has it."""
    with _lock:
        found = _holding.get(snapshot.number)
    if found is None:
        raise ConnectorError(
            "the first snapshot is seen by one process alone, and this worker is another one",
            hint="make the first run with --engine direct; later ones go on from there on any engine",
        )
    return found[0]


def released(snapshot: Snapshot) -> None:
    """Let go of a snapshot once all of its tables were read."""
    with _lock:
        found = _holding.pop(snapshot.number, None)
        if found is not None and found[1] > 1:
            _holding[snapshot.number] = (found[0], found[1] - 1)
            return
    if found is not None:
        with suppress(DataHubError):
            found[0].close()


@atexit.register
def _release_all() -> None:
    for holder, _ in _holding.values():
        holder.close()
