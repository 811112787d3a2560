"""What engines behind Beam's job service share: a job server of their own, or one that the user names."""

from __future__ import annotations

import os
import re
import shlex
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from beam_datahub.errors import EngineFailed, InvalidValue
from beam_datahub.runtime.engines.declaration import Engine, EngineOptions, Start
from beam_datahub.runtime.engines.server import JobServer, ServerCommand

# How long a job service may take to answer.
_ANSWER_SECONDS = 120
CONNECT_SECONDS = 15.0
# How long workers may take to close what they hold once the job is through.
_WORKERS_END_SECONDS = 5.0


class PortableEngine(Engine):
    """An engine that takes jobs through Beam's job service. Without `--job_endpoint` it gets a server for the run."""

    faults: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    """What an engine's own words mean for the user: a pattern, a reason and a hint."""

    @abstractmethod
    def server(self, options: EngineOptions, start: Start) -> ServerCommand:
        """How its job server is started. Raises MissingDependency."""

    def arguments(self, options: EngineOptions) -> list[str]:
        """Beam's options that the engine wants unless the user gives others."""
        return []

    @contextmanager
    def started(self, options: EngineOptions, start: Start) -> Iterator[Any]:
        """A pipeline for the job service."""
        from beam_datahub.compiler.dofns import close_sessions
        from beam_datahub.component.failure import unpacked

        usual = [f"--job_server_timeout={_ANSWER_SECONDS}", *self.arguments(options)]
        if start.job_name:
            usual.append(f"--job_name={start.job_name}")
        if options.given("environment_type") is None:
            usual.append("--environment_type=LOOPBACK")
        endpoint = options.given("job_endpoint")
        if endpoint is not None:
            _answers(endpoint)
            try:
                yield _patient_pipeline([*usual, *options.options])
            except Exception as failure:
                understood = self._understood(failure)
                if understood is not None:
                    raise understood from failure
                raise
            finally:
                _let_workers_end()
            return
        with JobServer(self.server(options, start), start.folder, start.log_folder) as server:
            try:
                yield _patient_pipeline([*usual, f"--job_endpoint={server.endpoint}", *options.options], server.lost)
            except Exception as failure:
                lost = server.lost() if unpacked(failure) is None else None
                understood = lost or self._understood(failure)
                if understood is not None:
                    raise understood from failure
                raise
            finally:
                if server.pid is not None:
                    _let_workers_end()
        close_sessions()

    def _understood(self, failure: Exception) -> EngineFailed | None:
        """A failure that users can do something about, in their words."""
        for pattern, reason, hint in self.faults:
            if re.search(pattern, str(failure)):
                return EngineFailed(f"{self.name}: {reason}", hint=hint)
        return None


def _patient_pipeline(arguments: Sequence[str], gone: Callable[[], EngineFailed | None] = lambda: None) -> Any:
    """An empty pipeline whose job outlasts a lost connection to the job service, as long as that may take to answer."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

    from beam_datahub.runtime.engines.job import PatientRunner

    options = PipelineOptions(list(arguments))
    return beam.Pipeline(runner=PatientRunner(options.view_as(PortableOptions).job_server_timeout, gone), options=options)


def _let_workers_end() -> None:
    """Wait for the workers in this process: they close what they opened when the job tells them that it is through."""
    deadline = time.monotonic() + _WORKERS_END_SECONDS
    for thread in threading.enumerate():
        if thread.name.startswith("run_worker_"):
            thread.join(max(0.0, deadline - time.monotonic()))


def _answers(endpoint: str) -> None:
    import grpc  # type: ignore[import-untyped]  # publishes no types

    channel = grpc.insecure_channel(endpoint)
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
    except grpc.FutureTimeoutError as error:
        hint = "is the job server running, and the port right?"
        raise EngineFailed(f"no job service answers at {endpoint}", hint=hint) from error
    finally:
        channel.close()


def port_of(options: EngineOptions, name: str) -> int | None:
    """The port that an option names. Raises InvalidValue."""
    text = options.given(name)
    if text is None:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise InvalidValue(f"--{name} must be a port, not '{text}'")
    return int(text)


def jvm_properties(options: EngineOptions) -> list[str]:
    """What the user gives Java besides, such as `-Xmx4g`."""
    return shlex.split(options.given("job_server_jvm_properties") or "")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
