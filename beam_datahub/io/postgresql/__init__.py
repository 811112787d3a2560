"""PostgreSQL: read through Arrow and binary COPY, written through COPY into staging tables."""

from __future__ import annotations

from beam_datahub.io.postgresql.sink import PostgresqlSink
from beam_datahub.io.postgresql.source import PostgresqlSource

__all__ = ["PostgresqlSink", "PostgresqlSource"]
