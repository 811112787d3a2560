"""Kafka: topics read from where the last run ended, and written in one transaction."""

from __future__ import annotations

from beam_datahub.io.kafka.sink import KafkaSink
from beam_datahub.io.kafka.source import KafkaSource

__all__ = ["KafkaSink", "KafkaSource"]
