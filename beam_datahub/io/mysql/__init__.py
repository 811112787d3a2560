"""MySQL and MariaDB: read as blocks of what the server sends, written through LOAD DATA into staging tables."""

from __future__ import annotations

from beam_datahub.io.mysql.sink import MysqlSink
from beam_datahub.io.mysql.source import MysqlSource

__all__ = ["MysqlSink", "MysqlSource"]
