"""MongoDB, and what speaks its protocol: collections as sources and destinations."""

from __future__ import annotations

from beam_datahub.io.mongodb.sink import MongodbSink
from beam_datahub.io.mongodb.source import MongodbSource

__all__ = ["MongodbSink", "MongodbSource"]
