"""Google Pub/Sub: subscriptions whose messages are acknowledged once they are published, and messages to topics."""

from __future__ import annotations

from beam_datahub.io.pubsub.sink import PubsubSink
from beam_datahub.io.pubsub.source import PubsubSource

__all__ = ["PubsubSink", "PubsubSource"]
