"""Redis: keys and their values as a source and a destination."""

from __future__ import annotations

from beam_datahub.io.redis.sink import RedisSink
from beam_datahub.io.redis.source import RedisSource

__all__ = ["RedisSink", "RedisSource"]
