"""Work done ahead of its consumer, on several threads, in order and within bounds."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def read_ahead(items: Iterable[_Item], work: Callable[[_Item], _Result], *, threads: int, ahead: int = 1) -> Iterator[_Result]:
    """`work` of each item, in the order of `items`; at most `threads + ahead` of them are begun before they are taken.

    `items` is consumed on a thread of its own. An error of either reaches the consumer in its place; when the consumer
    stops, everything stops and the threads end before `close` returns.
    """
    waiting: queue.Queue[Future[_Result] | BaseException | None] = queue.Queue()
    room = threading.Semaphore(threads + ahead)
    stopped = threading.Event()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")

    def feed() -> None:
        try:
            source = iter(items)
            while True:
                room.acquire()
                if stopped.is_set():
                    return
                try:
                    item = next(source)
                except StopIteration:
                    break
                waiting.put(pool.submit(work, item))
                del item
            waiting.put(None)
        except BaseException as error:
            waiting.put(error)

    feeder = threading.Thread(target=feed, name="read-ahead-feeder", daemon=True)
    feeder.start()
    try:
        while (found := waiting.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            result = found.result()
            del found
            room.release()
            yield result
            del result
    finally:
        stopped.set()
        room.release()
        feeder.join()
        pool.shutdown(wait=True, cancel_futures=True)
