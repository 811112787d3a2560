"""The binary log as a stream of events, by the client that speaks the protocol of replicas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from beam_datahub.component.database import RowsRefused, TableName
from beam_datahub.errors import AccessDenied, DataHubError, Transient, UnreadableData
from beam_datahub.io.mysql.connection import MysqlConnection, meaning
from beam_datahub.io.mysql_cdc.position import Position, number_of
from beam_datahub.io.mysql_cdc.repeated import Repeated, told, widened
from beam_datahub.io.mysql_cdc.server import purged


class _Lost(Exception):
    """The connection broke: the client would begin anew, and give again what it has given."""


def _once(connect: Callable[..., Any]) -> Callable[..., Any]:
    """What connects to the log one time only, and as often as it likes to the server's tables."""
    begun = False

    def connected(**settings: Any) -> Any:
        nonlocal begun
        if settings.get("db") == "information_schema":
            return connect(**settings)
        if begun:
            raise _Lost
        begun = True
        return widened(connect(**settings))

    return connected


# The server's number for a log that it does not have any more, and its words where it has it and cannot read it.
_NO_LOG = 1236
_IS_THERE = re.compile("log event|middle of event|crc check|checksum", re.IGNORECASE)


def events(
    connection: MysqlConnection, tables: Mapping[TableName, Position], start: Position, end: Position, server_id: int
) -> Iterator[tuple[Any, str]]:
    """The events between two places that have to do with the tables, `told` in few words, and the file of each.

    Raises ConnectorError.
    """
    import pymysql
    from pymysqlreplication import BinLogStreamReader, event, row_event

    settings = connection.settings()
    # MariaDB's GTIDs have no colon.
    mariadb = start.gtid is not None and ":" not in start.gtid
    stream = BinLogStreamReader(
        connection_settings=settings,
        server_id=server_id,
        blocking=False,
        resume_stream=True,
        log_file=start.file if start.gtid is None else None,
        log_pos=start.offset if start.gtid is None else None,
        auto_position=start.gtid,
        is_mariadb=mariadb,
        only_events=[
            event.GtidEvent,
            event.MariadbGtidEvent,
            event.QueryEvent,
            event.RotateEvent,
            row_event.TableMapEvent,
            row_event.WriteRowsEvent,
            row_event.UpdateRowsEvent,
            row_event.DeleteRowsEvent,
        ],
        only_schemas=sorted({table.schema for table in tables if table.schema is not None}),
        only_tables=sorted({table.name for table in tables}),
        # A table that is altered gets another number: what is known by a number stays right.
        freeze_schema=True,
        enable_logging=False,
        pymysql_wrapper=_once(pymysql.connect),
    )
    last, file, number = end.place, "", 0
    repeated = Repeated(stream)
    try:
        while True:
            known, is_end = repeated.take(last[1] if number == last[0] else None)
            for each in known:
                yield each, file
            if is_end:
                return
            if known:
                continue
            found = stream.fetchone()
            if found is None:
                return
            repeated.learn(found)
            if isinstance(found, event.RotateEvent) and number_of(found.next_binlog) > last[0]:
                return
            if stream.log_file != file:
                file = stream.log_file
                number = number_of(file)
            if isinstance(found, event.RotateEvent):
                continue
            place = (number, found.packet.log_pos)
            if place > last:
                return
            if not isinstance(found, row_event.TableMapEvent):
                yield told(found), file
            if place == last:
                return
    except _Lost as error:
        # MariaDB ends a log that is read by GTIDs by closing the connection.
        if (number_of(stream.log_file or start.file), stream.log_pos or 0) < end.place:
            raise Transient("the connection broke while the binary log was read") from error
    except OSError as error:
        raise Transient("the connection broke while the binary log was read") from error
    except pymysql.Error as error:
        raise _failed(error, start) from error
    finally:
        stream.close()


def _failed(error: Exception, start: Position) -> DataHubError:
    number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    said = str(error.args[1]) if len(error.args) > 1 else str(error)
    if number == _NO_LOG and _IS_THERE.search(said):
        return UnreadableData(
            f"the server cannot send its log from {start} on: {said}",
            hint="a position that was set by hand has to be the start of an event; a row that is too long wants a larger "
            "`max_allowed_packet` of the server",
        )
    if number == _NO_LOG:
        return purged(start)
    found = meaning(number, said)
    if isinstance(found, RowsRefused):
        return DataHubError(found.message)
    if isinstance(found, AccessDenied):
        found.hint = "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO the account"
    return found
