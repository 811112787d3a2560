"""How an MQTT broker is reached, and what its answers mean."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from pydantic import Field

from beam_datahub.component.dataset import DatasetName
from beam_datahub.component.messages.connection import ServerConnection
from beam_datahub.component.messages.source import reported
from beam_datahub.component.source import Report
from beam_datahub.errors import AccessDenied, ConnectorError, DataHubError, MissingDependency, TargetUnusable, Transient
from beam_datahub.security import redact

_BEAT_SECONDS = 0.02
# MQTT counts messages that are under way with 16 bits.
MOST = 65_535


class MqttConnection(ServerConnection):
    """An MQTT broker, and how it is reached."""

    port: int | None = Field(default=None, gt=0, lt=65536)
    """The broker's port: 1883 when left out, with TLS 8883."""

    version: Literal["5", "3.1.1"] = "5"
    """The version of MQTT."""

    transport: Literal["tcp", "websockets"] = "tcp"
    """What MQTT travels in."""

    keepalive_seconds: int = Field(default=60, ge=5)
    """How soon the broker and we find out that the other is gone."""

    @property
    def place(self) -> str:
        """Where the broker is."""
        return f"{self.host}:{self.port or (8883 if self.speaks_tls else 1883)}"

    def dataset(self, topic: str) -> DatasetName:
        """What a topic is called."""
        return DatasetName(f"mqtt://{self.place}", topic)

    def reached(self) -> Report:
        """What `check` tells of a broker that answers."""

        def ask() -> str:
            client = Client(self, "")
            client.close()
            return f"answers by MQTT {self.version}"

        return reported("broker", ask)


class Client:
    """A connection to a broker, with its own thread; a session of this name, which the broker keeps for `keep_seconds`.

    `came` is called with each message, on that thread. Messages are acknowledged only by `acknowledge`; with MQTT 5 the broker
    sends at most `most` ahead of that. `resumed` says whether the broker had kept the session.
    """

    def __init__(
        self,
        connection: MqttConnection,
        name: str,
        *,
        keep_seconds: int = 0,
        came: Callable[[Any], None] | None = None,
        most: int = MOST,
    ) -> None:
        try:
            from paho.mqtt import client as paho
            from paho.mqtt.enums import CallbackAPIVersion
            from paho.mqtt.packettypes import PacketTypes
            from paho.mqtt.properties import Properties
        except ModuleNotFoundError as error:
            raise MissingDependency(
                "the connector 'mqtt' needs the module 'paho'", hint="pip install 'beam-datahub[mqtt]'"
            ) from error
        self.connection, self._is_new = connection, connection.version == "5"
        self._changed = threading.Condition()
        self._connected: Any = None
        self._lost: str | None = None
        self._answered: dict[int, Any] = {}
        self._ended = self.resumed = False
        chosen: dict[str, Any] = {}
        if not self._is_new:
            chosen["clean_session"] = not keep_seconds
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name,
            protocol=paho.MQTTv5 if self._is_new else paho.MQTTv311,
            transport=connection.transport,
            reconnect_on_failure=False,
            manual_ack=True,
            **chosen,
        )
        client = self._client
        client.on_connect = self._told_connect
        client.on_disconnect = self._told_disconnect
        client.on_subscribe = client.on_unsubscribe = self._told_subscribe
        client.on_publish = self._told_publish
        if came is not None:
            client.on_message = lambda _, __, message: came(message)
        client.max_inflight_messages_set(10_000)
        client.connect_timeout = float(connection.connect_timeout_seconds)
        if connection.user is not None:
            client.username_pw_set(connection.user, connection.secret())
        context = connection.tls_context()
        if context is not None:
            client.tls_set_context(context)
        start: dict[str, Any] = {}
        if self._is_new:
            properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = keep_seconds
            properties.ReceiveMaximum = most
            start = {"clean_start": not keep_seconds, "properties": properties}
        try:
            client.connect(connection.host, connection.port or (8883 if context else 1883), connection.keepalive_seconds, **start)
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error
        client.loop_start()
        try:
            self._until(lambda: self._connected is not None, connection.connect_timeout_seconds)
            reason: Any = self._connected
            if reason.is_failure:
                raise self._refused(str(reason))
        except BaseException:
            self.close()
            raise

    def _unreachable(self, error: BaseException) -> DataHubError:
        text, place = redact(str(error) or type(error).__name__), self.connection.place
        if "certificate" in text.lower() or "SSL" in text:
            return AccessDenied(f"{place}: {text}", hint="look at `tls` and the `tls_…` files")
        return Transient(f"{place} does not answer: {text}", hint="look at `host` and `port`, and whether the broker is up")

    def _refused(self, words: str) -> DataHubError:
        place, text = self.connection.place, words.lower()
        if "user name" in text or "not authorized" in text or "banned" in text:
            return AccessDenied(f"{place}: {words}", hint="look at `user` and `password`, and at the rights of the user")
        if "unavailable" in text or "busy" in text:
            return Transient(f"{place}: {words}")
        return ConnectorError(f"{place}: {words}")

    def _told_connect(self, _: Any, __: Any, flags: Any, reason: Any, ____: Any) -> None:
        with self._changed:
            self._connected, self.resumed = reason, bool(flags.session_present)
            self._changed.notify_all()

    def _told_disconnect(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        with self._changed:
            if not self._ended:
                self._lost = str(reason)
            self._changed.notify_all()

    def _told_subscribe(self, _: Any, __: Any, number: int, reasons: Any, ___: Any) -> None:
        with self._changed:
            self._answered[number] = reasons
            self._changed.notify_all()

    def _told_publish(self, _: Any, __: Any, number: int, reason: Any, ___: Any) -> None:
        with self._changed:
            self._answered[number] = reason
            self._changed.notify_all()

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone."""
        return self._lost is not None

    def check(self) -> None:
        """Raise Transient where the connection is gone."""
        if self._lost is not None:
            raise Transient(
                f"the connection to {self.connection.place} is gone: {self._lost}", hint="nothing is lost; run it again"
            )

    def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._changed:
            while not condition():
                self.check()
                left = end - time.monotonic()
                if left <= 0:
                    raise Transient(
                        f"{self.connection.place} does not answer within {seconds:.0f} s", hint="is the broker up? run it again"
                    )
                self._changed.wait(min(left, 1.0))

    def subscribe(self, topics: tuple[str, ...], qos: int) -> None:
        """Subscribe to topics, which may have wildcards. Raises AccessDenied, Transient."""
        _, number = self._client.subscribe([(topic, qos) for topic in topics])
        if number is None:
            raise Transient(f"the connection to {self.connection.place} is gone", hint="run it again")
        self._until(lambda: number in self._answered, self.connection.connect_timeout_seconds)
        for topic, reason in zip(topics, self._answered.pop(number), strict=False):
            if reason.is_failure:
                raise AccessDenied(f"{self.connection.place}: the topic '{topic}': {reason}", hint="have the right granted")

    def round_trip(self) -> None:
        """Wait for an answer of the broker: what was sent before is there. Raises Transient."""
        self.check()
        _, number = self._client.unsubscribe("beam-datahub/nothing")
        self._until(lambda: number in self._answered, self.connection.timeout_seconds)

    def acknowledge(self, number: int, qos: int) -> None:
        """Acknowledge a message by its number."""
        self._client.ack(number, qos)

    def publish(self, messages: list[tuple[str, bytes, list[tuple[str, str]]]], qos: int, *, retain: bool) -> None:
        """Publish messages, each a topic, a body and user properties; wait until the broker has them. Raises ConnectorError."""
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        numbers = []
        for topic, body, headers in messages:
            properties: Any = None
            if self._is_new and headers:
                properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
                properties.UserProperty = headers
            try:
                info = self._client.publish(topic, body, qos, retain, properties)
            except ValueError as error:
                raise TargetUnusable(f"the topic '{topic}' cannot be written: {error}") from error
            numbers.append(info.mid)
        wanted = set(numbers)
        self._until(lambda: wanted <= self._answered.keys(), self.connection.timeout_seconds)
        reasons = [self._answered.pop(number) for number in numbers]
        failed = next((reason for reason in reasons if getattr(reason, "is_failure", False)), None)
        if failed is not None:
            raise self._refused(str(failed))

    def close(self) -> None:
        """End the connection; the broker keeps what is not acknowledged for as long as it keeps the session. Raises nothing."""
        self._ended = True
        with suppress(Exception):
            end = time.monotonic() + 2
            while self._client.want_write() and time.monotonic() < end and self._lost is None:
                time.sleep(_BEAT_SECONDS)
            self._client.disconnect()
        with suppress(Exception):
            self._client.loop_stop()
