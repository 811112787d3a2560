"""The engines that a pipeline can run on, and what each asks of the lowering."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from beam_datahub.errors import MissingDependency, UnknownName


@dataclass(frozen=True)
class EngineOptions:
    """What a user may set for an engine. `memory_bytes`: what shuffles on the direct engine may hold in
    memory, half of it for rows on their way and half for the kernels; beyond that they spill to `spill_dir`.
    """

    threads: int | None = None
    memory_bytes: int = 4 * 1024**3
    spill_dir: str | None = None
    shards: int | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Engine:
    """An engine: its runner, its pipeline options, whether its workers share the launcher's memory, and into how many
    shards it splits a shuffle unless told otherwise.
    """

    name: str
    runner: str
    arguments: Callable[[EngineOptions], list[str]]
    in_process: bool
    shards: int
    summary: str

    def hold(self, options: EngineOptions) -> AbstractContextManager[Any]:
        """What must be active while the engine runs in this process."""
        if not self.in_process:
            return nullcontext()
        from beam_datahub.component.coder import BatchStore

        return BatchStore(options.memory_bytes // 2, options.spill_dir)

    def pipeline(self, options: EngineOptions) -> Any:
        """A Beam pipeline for this engine."""
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        arguments = [*self.arguments(options), *options.options]
        return beam.Pipeline(runner=self.runner, options=PipelineOptions(arguments))


def _prism_arguments(options: EngineOptions) -> list[str]:
    given = [argument for argument in options.options if argument.startswith("--prism_location")]
    binary = os.environ.get("BEAM_DATAHUB_PRISM") or shutil.which("prism")
    if not given and not binary:
        raise MissingDependency(
            "the engine 'prism' needs the prism program",
            hint="set BEAM_DATAHUB_PRISM to it, or install it: go install github.com/apache/beam/sdks/v2/go/cmd/prism@v2.77.0",
        )
    location = [] if given else [f"--prism_location={binary}"]
    return [*location, "--environment_type=LOOPBACK", "--job_server_timeout=120"]


ENGINES: dict[str, Engine] = {
    "direct": Engine(
        "direct",
        "apache_beam.runners.portability.fn_api_runner.FnApiRunner",
        lambda options: ["--direct_num_workers=1", "--direct_running_mode=in_memory"],
        in_process=True,
        # One worker: rows meet by reference, and the kernel spills by itself where a shuffle outgrows the memory.
        shards=1,
        summary="Beam's in-process runner: one worker, kernels on all cores",
    ),
    "prism": Engine(
        "prism",
        "PrismRunner",
        _prism_arguments,
        in_process=False,
        shards=8,
        summary="Beam's portable local runner, with workers beside the launcher",
    ),
}


def engine(name: str) -> Engine:
    """The engine called `name`. Raises UnknownName."""
    if name not in ENGINES:
        raise UnknownName("engine", name, ENGINES)
    return ENGINES[name]
