"""NATS JetStream: streams read from where the last run ended or by a consumer, and written without doubles."""

from __future__ import annotations

from beam_datahub.io.nats.sink import NatsSink
from beam_datahub.io.nats.source import NatsSource

__all__ = ["NatsSink", "NatsSource"]
