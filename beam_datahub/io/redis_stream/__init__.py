"""Redis streams: read from where the last run ended or as a member of a group, and written without doubles."""

from __future__ import annotations

from beam_datahub.io.redis_stream.sink import RedisStreamSink
from beam_datahub.io.redis_stream.source import RedisStreamSource

__all__ = ["RedisStreamSink", "RedisStreamSource"]
