"""The direct engine: Beam's in-process runner, with kernels on all cores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from beam_datahub.runtime.engines.declaration import Engine, EngineOptions, Readiness, Start, pipeline


class Direct(Engine):
    """Beam's in-process runner: one worker, kernels on all cores."""

    name = "direct"
    summary = "Beam's in-process runner: one worker, kernels on all cores"
    in_process = True
    # One worker: rows meet by reference, and the kernel spills by itself where a shuffle outgrows the memory.
    shards = 1
    cannot = ("integrations of type real-time or hybrid", "more than one machine")

    def readiness(self) -> Readiness:
        """It is part of Beam."""
        return Readiness(True, self.summary)

    @contextmanager
    def started(self, options: EngineOptions, start: Start) -> Iterator[Any]:
        """A pipeline whose batches move by reference."""
        from beam_datahub.component.coder import BatchStore

        arguments = ["--direct_num_workers=1", "--direct_running_mode=in_memory", *options.options]
        with BatchStore(options.memory_bytes // 2, options.spill_dir):
            yield pipeline("apache_beam.runners.portability.fn_api_runner.FnApiRunner", arguments)
