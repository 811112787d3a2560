"""A pool of workers for engines whose workers are processes of their own: one starts whenever a job asks for it."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]  # publishes no types

from beam_datahub.errors import EngineFailed

_ANSWER_SECONDS = 60.0
# A worker that dies before it has reached its job leaves the job waiting for ever: another takes its place, so often.
_ATTEMPTS = 5
_REACHED = "BEAM_DATAHUB_WORKER_REACHED"
# What Beam's pool starts for each worker: this Python, whatever `python` on the PATH is.
_PROGRAM = """\
#!/bin/sh
exec '{python}' -P -c 'from beam_datahub.runtime.engines.workers import work; work()' "$@"
"""


def serve(port: int, tell: Callable[[], None]) -> None:
    """Take requests for workers at a port until Ctrl-C or SIGTERM; `tell` is called once it is open.

    Raises EngineFailed where the port is taken.
    """
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="beam-datahub-workers-") as folder:
        program = Path(folder) / "worker"
        program.write_text(_PROGRAM.format(python=sys.executable), "utf-8")
        program.chmod(0o700)
        try:
            _, server = _pool().start(use_process=True, port=port, container_executable=str(program))
        except RuntimeError as error:
            raise EngineFailed(f"the port {port} is taken", hint="name another with --port") from error
        tell()
        ended.wait()
        server.stop(0)


def _pool() -> Any:
    """Beam's pool, which looks after the workers that it starts."""
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    class Pool(BeamFnExternalWorkerPoolServicer):
        """Starts another worker in the place of one that has died before it reached its job."""

        def StartWorker(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name is Beam's
            """Start a worker, and look after it."""
            folder = Path(self._container_executable or "").parent
            os.environ[_REACHED] = str(folder)
            answer = super().StartWorker(request, context)
            if not answer.error:
                threading.Thread(target=self._look_after, args=(request, folder, 1), daemon=True).start()
            return answer

        def _look_after(self, request: Any, folder: Path, attempt: int) -> None:
            worker = request.worker_id
            process = self._worker_processes.get(worker)
            if process is None:
                return
            code = process.wait()
            reached = _mark(folder, worker, process.pid).exists()
            if code == 0 or reached or self._worker_processes.get(worker) is not process:
                return
            print(f"worker {worker} ended before it reached its job, with exit code {code}", file=sys.stderr, flush=True)  # noqa: T201
            if attempt < _ATTEMPTS and not super().StartWorker(request, None).error:
                self._look_after(request, folder, attempt + 1)

    return Pool


def _mark(folder: Path, worker: str, process: int) -> Path:
    return folder / f"{worker}-{process}.reached"


def work() -> None:
    """Be a worker, as Beam's contract for containers has it: what it logs goes to the runner."""
    # Nobody reads the pipe to the pool, and a full one would hold the worker.
    os.dup2(2, 1)
    parser = argparse.ArgumentParser()
    for name in ("id", "logging_endpoint", "artifact_endpoint", "provision_endpoint", "control_endpoint"):
        parser.add_argument(f"--{name}", default="")
    asked = parser.parse_args()
    # Beam looks at it when it is imported.
    os.environ["WORKER_ID"] = asked.id
    os.environ.update(_environment(asked))
    from apache_beam.runners.worker import sdk_worker_main

    handler, harness, _ = sdk_worker_main.create_harness(os.environ)
    folder = os.environ.get(_REACHED)
    if folder:
        _mark(Path(folder), asked.id, os.getpid()).touch()
    try:
        harness.run()
    finally:
        if handler:
            handler.close()


def _environment(asked: argparse.Namespace) -> dict[str, str]:
    """What Beam's worker looks for in its environment."""
    info = _provision(asked.provision_endpoint, asked.id)
    logging = info.logging_endpoint.url or asked.logging_endpoint
    control = info.control_endpoint.url or asked.control_endpoint
    found = {
        "PIPELINE_OPTIONS": _options(info),
        "CONTROL_API_SERVICE_DESCRIPTOR": f'url: "{control}"',
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    if logging:
        found["LOGGING_API_SERVICE_DESCRIPTOR"] = f'url: "{logging}"'
    if info.status_endpoint.url:
        found["STATUS_API_SERVICE_DESCRIPTOR"] = f'url: "{info.status_endpoint.url}"'
    return found


def _provision(endpoint: str, worker: str) -> Any:
    from apache_beam.portability.api import beam_provision_api_pb2 as api
    from apache_beam.portability.api import beam_provision_api_pb2_grpc as services

    with grpc.insecure_channel(endpoint) as channel:
        service = services.ProvisionServiceStub(channel)
        request = api.GetProvisionInfoRequest()
        metadata = [("worker_id", worker)]
        return service.GetProvisionInfo(request, metadata=metadata, timeout=_ANSWER_SECONDS, wait_for_ready=True).info


def _options(info: Any) -> str:
    from google.protobuf import json_format

    return str(json_format.MessageToJson(info.pipeline_options))
