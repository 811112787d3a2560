"""A steady pace of messages through a stream: sends them, receives what comes of them, and watches what the stream takes.

Each message carries when it was handed to the producer; what has come of it counts as there once a consumer that reads only
what is committed has it.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

# Messages are sent in turns, so many a second.
_TURNS = 100
# Seconds at the start that are not counted: the stream fills its buffers.
WARM_UP = 20.0
# One in so many is looked at for its delay.
_EVERY = 100
# Seconds that the last messages get to arrive.
_PATIENCE = 120.0


@dataclass
class Paced:
    """What was seen: seconds that each message took, by when it was sent; bytes of memory and seconds of processor time of the
    stream's processes, by the second.
    """

    sent: int = 0
    came: int = 0
    behind: float = 0.0
    delays: list[tuple[float, float]] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """The delay that so many of a hundred messages stay below, after warming up."""
        counted = sorted(delay for at, delay in self.delays if at >= WARM_UP)
        return counted[min(len(counted) - 1, int(len(counted) * share / 100))]

    def megabytes(self) -> tuple[float, float]:
        """The median memory of the first and of the last quarter after warming up, in MiB."""
        counted = [held / 2**20 for at, held in self.memory if at >= WARM_UP]
        quarter = max(1, len(counted) // 4)
        return statistics.median(counted[:quarter]), statistics.median(counted[-quarter:])


def through(address: str, partitions: int, pace: int, seconds: float, pid: int, *, after: int) -> Paced:
    """Send `pace` messages a second for so long, and take what comes out, `after` what was there before, until all has come."""
    seen = Paced()
    began = time.time()
    expected, ended = threading.Event(), threading.Event()
    watching = threading.Thread(target=_watch, args=(pid, ended, began, seen), daemon=True)
    sending = threading.Thread(target=_send, args=(address, partitions, pace, seconds, began, seen, expected), daemon=True)
    watching.start()
    sending.start()
    try:
        _receive(address, after, expected, began, seen)
    finally:
        ended.set()
    return seen


def _send(address: str, partitions: int, pace: int, seconds: float, began: float, seen: Paced, sent: threading.Event) -> None:
    producer = Producer({"bootstrap.servers": address, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000})
    number = 0
    for turn in range(int(seconds * _TURNS)):
        wait = began + turn / _TURNS - time.time()
        if wait > 0:
            time.sleep(wait)
        seen.behind = max(seen.behind, -wait)
        for _ in range(pace // _TURNS):
            status = "paid" if number % 3 else "open"
            order = {"id": number, "sent": time.time(), "amount": number % 1000 + 0.25, "status": status, "note": "some text"}
            producer.produce("steady", json.dumps(order), partition=number % partitions)
            number += 1
        producer.poll(0)
    producer.flush()
    seen.sent = number
    sent.set()


def _receive(address: str, after: int, sent: threading.Event, began: float, seen: Paced) -> None:
    options = {"bootstrap.servers": address, "group.id": "pace", "isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = Consumer({**options, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition("out", 0, 0)])
    quiet = time.time()
    while True:
        messages = consumer.consume(5000, timeout=0.2)
        now = time.time()
        for message in messages:
            if message.error() is not None:
                raise RuntimeError(str(message.error()))
            seen.came += 1
            if seen.came > after and seen.came % _EVERY == 0:
                handed = json.loads(message.value() or b"{}")["sent"]
                seen.delays.append((handed - began, now - handed))
        if messages:
            quiet = now
        if sent.is_set() and seen.came - after == seen.sent - (seen.sent + 2) // 3:
            break
        if sent.is_set() and now - quiet > _PATIENCE:
            raise RuntimeError(f"{seen.came - after} came of {seen.sent}")
    consumer.close()


def _watch(pid: int, ended: threading.Event, began: float, seen: Paced) -> None:
    # What processes share is shared out among them.
    while not ended.wait(1.0):
        seen.memory.append((time.time() - began, sum(map(_held, _family(pid)))))


def _family(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            tasks = list(Path(f"/proc/{one}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            # It has ended meanwhile.
            continue
    return found


def _held(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
