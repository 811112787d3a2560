"""MySQL's and MariaDB's changes: a consistent snapshot, then what the binary log tells, each change once."""

from __future__ import annotations

from beam_datahub.io.mysql_cdc.source import MysqlCdcSource

__all__ = ["MysqlCdcSource"]
