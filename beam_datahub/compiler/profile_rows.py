"""The DoFn that profiles what leaves a step or goes to a destination."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa

from beam_datahub.compiler.dofns import _global
from beam_datahub.compiler.plan import PlanProfile
from beam_datahub.compiler.profiling import BundleProfile
from beam_datahub.component.failure import carried


class ProfileRows(beam.DoFn):
    """Profiles the batches that pass by."""

    def __init__(self, wanted: PlanProfile, threads: int | None) -> None:
        self._wanted, self._threads = wanted, threads
        self._bundle: BundleProfile | None = None

    def start_bundle(self) -> None:
        """Start afresh, also after a bundle that broke."""
        self.teardown()
        self._bundle = BundleProfile(self._wanted, self._threads)

    @carried
    def process(self, batch: pa.RecordBatch) -> None:
        assert self._bundle is not None
        self._bundle.add(batch)

    @carried
    def finish_bundle(self) -> Iterator[Any]:
        if self._bundle is not None:
            for report in self._bundle.report():
                yield _global(report)

    def teardown(self) -> None:
        """End what an unfinished bundle began."""
        if self._bundle is not None:
            self._bundle.discard()
