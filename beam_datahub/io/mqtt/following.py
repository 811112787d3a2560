"""Follows the topics of one session without end, over a connection of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import Any

from beam_datahub.component.messages.following import Intake, Lent, identity_of
from beam_datahub.io.mqtt.connection import Client, MqttConnection

_LOGGER = logging.getLogger("beam_datahub.run")

_QOS = 1
_BEAT_SECONDS = 0.1


class MqttIntake(Intake):
    """One session. The broker sends at most `most` messages that are not acknowledged; those of QoS 0, which it neither counts
    nor keeps, are dropped where as many are here already.
    """

    def __init__(
        self,
        connection: MqttConnection,
        session: str,
        topics: tuple[str, ...],
        *,
        keep_seconds: int,
        quiet_seconds: float,
        most: int,
    ) -> None:
        self._ahead: SimpleQueue[tuple[Any, datetime]] = SimpleQueue()
        self._most, self._quiet_seconds, self._session = most, quiet_seconds, session
        self._warned = False
        self._heard, self._is_quiet = time.monotonic(), False
        self._client = Client(connection, session, keep_seconds=keep_seconds, came=self._came, most=most)
        try:
            self.resumed = self._client.resumed
            self._client.subscribe(topics, _QOS)
        except BaseException:
            self.close()
            raise

    def _came(self, message: Any) -> None:
        # Answers of the broker come this way as well: it must not be blocked.
        if message.qos or self._ahead.qsize() < self._most:
            self._ahead.put((message, datetime.now(UTC)))
            return
        if not self._warned:
            self._warned = True
            _LOGGER.warning(
                "the session '%s' gets messages of QoS 0 faster than they are processed: some are dropped", self._session
            )

    def check(self) -> None:
        self._client.round_trip()

    def take(self, seconds: float, most: int) -> list[Lent]:
        until, found = time.monotonic() + seconds, list[Lent]()
        while not found:
            try:
                found.append(_lent(*self._ahead.get(timeout=max(0.0, min(until - time.monotonic(), _BEAT_SECONDS)))))
            except Empty:
                # What came before the connection was lost is here, and goes on first.
                if self._ahead.empty():
                    self._client.check()
                if time.monotonic() >= until:
                    return found
        while len(found) < most:
            try:
                found.append(_lent(*self._ahead.get_nowait()))
            except Empty:
                break
        self._stir()
        return found

    def _stir(self) -> None:
        self._heard, self._is_quiet = time.monotonic(), False

    def behind(self) -> int:
        if not self._is_quiet and time.monotonic() - self._heard >= self._quiet_seconds:
            # What the broker has sent before it answers is here then.
            self._client.round_trip()
            self._is_quiet = True
        return self._ahead.qsize() or (0 if self._is_quiet else 1)

    def acknowledge(self, tokens: Sequence[Any]) -> None:
        for number, qos in tokens:
            if qos:
                self._client.acknowledge(number, qos)
        self._client.round_trip()
        # A broker that had as many under way as it may sends more now.
        self._stir()

    def close(self) -> None:
        self._client.close()


def _lent(message: Any, came: datetime) -> Lent:
    # A message that the broker does not keep is not sent again.
    identity = None
    if message.qos:
        properties = getattr(message, "properties", None)
        identity = identity_of(message.topic, message.payload, message.retain, None if properties is None else properties.json())
    return Lent((message, came), (message.mid, message.qos), len(message.payload), identity, bool(message.dup))
