"""Makes Beam keep to itself what the run says in one sentence, and lets its bundles end as soon as they are through."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from beam_datahub.runtime.run_log import RunLog


@functools.cache
def let_workers_end_quietly() -> None:
    """Beam's loopback workers outlive the job, and when its server goes each tells at length that the connection did, too; what
    the bundles of a stopped run fail with, they print when nobody listens any more.
    """
    from apache_beam.runners.worker import sdk_worker

    if logging.getLogger().isEnabledFor(logging.DEBUG):
        return
    vars(sdk_worker)["print"] = _unsaid
    logging.getLogger("apache_beam.runners.worker.data_plane").disabled = True
    usual = threading.excepthook

    def hook(failed: threading.ExceptHookArgs) -> None:
        is_worker = failed.thread is not None and failed.thread.name.startswith("run_worker_")
        if not is_worker and not failed.exc_type.__module__.startswith("grpc"):
            usual(failed)

    threading.excepthook = hook


@functools.cache
def let_bundles_end_at_once() -> None:
    """Beam samples the state of each bundle every 200 ms and, at its end, waits for the sampler to wake up once more."""
    from apache_beam.runners.worker import statesampler

    class Brisk(statesampler.StateSampler):
        """Samples every 10 ms."""

        def __init__(self, prefix: str, counter_factory: Any, sampling_period_ms: int = 10) -> None:
            super().__init__(prefix, counter_factory, sampling_period_ms)

    vars(statesampler)["StateSampler"] = Brisk


@contextmanager
def quiet_beam() -> Iterator[None]:
    """Beam logs a failing bundle with its whole traceback, under the names of several loggers whose levels it sets itself,
    and prints it; the run says the same in one sentence.
    """
    from apache_beam.runners.worker import sdk_worker

    before, said = logging.root.manager.disable, vars(sdk_worker).get("print")
    quiet = not logging.getLogger().isEnabledFor(logging.DEBUG)
    if quiet:
        # The log of a recorded run takes it all.
        if not any(isinstance(handler, RunLog) for handler in logging.getLogger().handlers):
            logging.disable(max(before, logging.ERROR))
        vars(sdk_worker)["print"] = _unsaid
    try:
        yield
    finally:
        if quiet:
            logging.disable(before)
            if said is None:
                del vars(sdk_worker)["print"]


def _unsaid(*_: Any, **__: Any) -> None:
    """Takes the place of `print` in a module of Beam: a name of the module goes before the built-in one."""
