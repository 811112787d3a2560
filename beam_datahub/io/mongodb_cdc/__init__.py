"""MongoDB's changes: the documents as they are first, then what change streams tell, each change once."""

from __future__ import annotations

from beam_datahub.io.mongodb_cdc.source import MongodbCdcSource

__all__ = ["MongodbCdcSource"]
