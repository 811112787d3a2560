"""PostgreSQL's changes: a consistent snapshot, then what its log tells by logical replication, each change once."""

from __future__ import annotations

from beam_datahub.io.postgresql_cdc.source import PostgresqlCdcSource

__all__ = ["PostgresqlCdcSource"]
