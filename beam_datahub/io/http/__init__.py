"""Records sent to an HTTP endpoint, one by one or in batches, with a retry policy and a dead letter behind it."""

from __future__ import annotations

from beam_datahub.io.http.sink import HttpSink

__all__ = ["HttpSink"]
