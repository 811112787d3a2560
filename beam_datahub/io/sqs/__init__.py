"""Amazon SQS: queues whose messages are deleted once they are published, and messages sent in batches."""

from __future__ import annotations

from beam_datahub.io.sqs.sink import SqsSink
from beam_datahub.io.sqs.source import SqsSource

__all__ = ["SqsSink", "SqsSource"]
