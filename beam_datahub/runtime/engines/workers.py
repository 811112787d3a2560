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
# What Beam's pool starts for each worker: this Python, whatever `python` on the PATH is.
_PROGRAM = """\
#!/bin/sh
exec '{python}' -P -c 'from beam_datahub.runtime.engines.workers import work; work()' "$@"
"""


def serve(port: int, tell: Callable[[], None]) -> None:
    """Take requests for workers at a port until Ctrl-C or SIGTERM; `tell` is called once it is open.

    Raises EngineFailed where the port is taken.
    """
    from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="beam-datahub-workers-") as folder:
        program = Path(folder) / "worker"
        program.write_text(_PROGRAM.format(python=sys.executable), "utf-8")
        program.chmod(0o700)
        try:
            _, server = BeamFnExternalWorkerPoolServicer.start(use_process=True, port=port, container_executable=str(program))
        except RuntimeError as error:
            raise EngineFailed(f"the port {port} is taken", hint="name another with --port") from error
        tell()
        ended.wait()
        server.stop(0)


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

    sdk_worker_main.main(sys.argv[1:])


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
