"""RabbitMQ: queues read over a channel that is held until the run is published, and messages sent with confirms."""

from __future__ import annotations

from beam_datahub.io.rabbitmq.sink import RabbitmqSink
from beam_datahub.io.rabbitmq.source import RabbitmqSource

__all__ = ["RabbitmqSink", "RabbitmqSource"]
