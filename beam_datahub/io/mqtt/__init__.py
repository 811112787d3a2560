"""MQTT: topics read by a session that the broker keeps, and messages published to them."""

from __future__ import annotations

from beam_datahub.io.mqtt.sink import MqttSink
from beam_datahub.io.mqtt.source import MqttSource

__all__ = ["MqttSink", "MqttSource"]
