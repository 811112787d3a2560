"""Sends the requests of a commit, several at a time: again where that may help, by halves where one of many is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beam_datahub.component.halving import singled_out
from beam_datahub.component.progress import PROGRESS
from beam_datahub.component.rate_limit import wait_turn
from beam_datahub.component.retry import pause
from beam_datahub.errors import Transient
from beam_datahub.io.http.client import Answer, Client, Meaning
from beam_datahub.io.http.requests import Request, body, key_of_content, key_of_place, placeholders

if TYPE_CHECKING:
    from beam_datahub.component.sink import WriteRequest
    from beam_datahub.io.http.connection import HttpConnection
    from beam_datahub.io.http.sink import HttpWriteOptions


@dataclass(frozen=True)
class Refusal:
    """Why a record is not taken: a reason code, what is said, and how often it was sent."""

    reason: str
    told: str
    attempts: int


class Delivery:
    """Sends the requests of one commit; several threads share what it knows of the service."""

    def __init__(self, client: Client, connection: HttpConnection, options: HttpWriteOptions, request: WriteRequest) -> None:
        self._client, self._connection, self._options, self._request = client, connection, options, request
        self._place = connection.place
        self._fixed = not placeholders(options.path)
        self._lock = threading.Lock()
        self._quiet_until = 0.0
        self._in_vain = 0
        self._over = False

    def send(self, pool: ThreadPoolExecutor, requests: Sequence[Request]) -> list[list[tuple[int, Refusal]]]:
        """Send some requests; gives of each the rows that are refused. Raises ConnectorError once all have come to an end."""
        running = [pool.submit(self._sent, each) for each in requests]
        try:
            wait(running)
        except BaseException:
            self._over = True
            raise
        failures = [error for each in running if (error := each.exception()) is not None and not isinstance(error, _Over)]
        if failures:
            # What somebody has to look at says more than that the service was away.
            raise next((error for error in failures if not isinstance(error, Transient)), failures[0])
        return [each.result() for each in running]

    def _sent(self, request: Request) -> list[tuple[int, Refusal]]:
        try:
            return list(singled_out(len(request.texts), lambda first, count: self._tried(request.part(first, count))))
        except BaseException:
            self._over = True
            raise

    def _tried(self, request: Request) -> Refusal | None:
        """Send a request until it is taken or refused, or the attempts are used up; None: it is taken."""
        options = self._options
        content, address = body(request, options), self._connection.address(request.path)
        headers = dict(self._headers(request, content))
        answers: list[Answer] = []

        def attempt(number: int) -> bool:
            if number > 1 and PROGRESS.stopping:
                raise Transient(f"{self._place}: the run was stopped before all records were sent")
            self._wait_turn()
            answers.append(self._client.send(options.method, address, content, headers, fixed=self._fixed))
            answer = answers[-1]
            self._keep_quiet(answer.wait)
            return answer.meaning in (Meaning.AGAIN, Meaning.UNREACHABLE)

        options.retry.rounds(attempt)
        answer, count = answers[-1], len(answers)
        if answer.meaning in (Meaning.TAKEN, Meaning.REFUSED):
            self._in_vain = 0
            return None if answer.meaning is Meaning.TAKEN else Refusal("refused", answer.told, count)
        told = f"{answer.told} (attempt {count} of {count})" if count > 1 else answer.told
        with self._lock:
            self._in_vain += 1
            is_away = self._in_vain >= options.retry.outage_after
        if answer.meaning is Meaning.UNREACHABLE or is_away:
            # That is no record's fault.
            raise Transient(f"{self._place}: {told}", hint="look at `url`, and whether the service is up; then run it again")
        return Refusal("undelivered", told, count)

    def _headers(self, request: Request, content: bytes) -> dict[str, str]:
        options, found = self._options, {}
        if options.format != "none":
            found["Content-Type"] = "application/x-ndjson" if options.format == "ndjson" else "application/json"
        if options.idempotency_header is not None:
            if options.idempotency == "commit":
                key = key_of_place(self._request.commit_name, self._request.step, request)
            else:
                key = key_of_content(self._request.step, options.method, request.path, content)
            found[options.idempotency_header] = key
        return found

    def _wait_turn(self) -> None:
        while True:
            if self._over:
                raise _Over
            left = self._quiet_until - time.monotonic()
            if left <= 0:
                break
            pause(min(left, 1.0))
            if PROGRESS.stopping:
                raise Transient(f"{self._place}: the run was stopped before all records were sent")
        if self._options.requests_per_second is not None:
            wait_turn(f"{self._place} for {self._request.step}", self._options.requests_per_second)

    def _keep_quiet(self, seconds: float) -> None:
        """Let the service alone for so long: all threads."""
        if seconds > 0:
            until = time.monotonic() + min(seconds, self._options.retry.longest_wait)
            with self._lock:
                self._quiet_until = max(self._quiet_until, until)


class _Over(Exception):
    """Another thread has found that nothing more is to be sent."""
