"""How the reports of a stream's bundles reach the launcher: as files of a folder, each there as a whole."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from beam_datahub.component.failure import carried


class DeliverReports(beam.DoFn):
    """Leaves the reports of a bundle for the launcher, as one file of a folder: there as a whole, or not at all."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._found: list[tuple[str, str]] = []

    def start_bundle(self) -> None:
        """Start afresh, also after a bundle that broke."""
        self._found = []

    @carried
    def process(self, report: tuple[str, str]) -> Iterator[Any]:
        self._found.append(report)
        return iter(())

    @carried
    def finish_bundle(self) -> Iterator[Any]:
        if self._found:
            deliver(self._folder, self._found)
        return iter(())


def deliver(folder: str, reports: list[tuple[str, str]]) -> None:
    """Leave reports in a folder, local or not."""
    import os

    from apache_beam.io.filesystems import FileSystems

    name, data = f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}", json.dumps(reports).encode()
    if "://" in folder:
        with FileSystems.create(f"{folder}/{name}.json", mime_type="application/json") as out:
            out.write(data)
        return
    with open(os.path.join(folder, f"{name}.new"), "wb") as file:
        file.write(data)
    os.replace(os.path.join(folder, f"{name}.new"), os.path.join(folder, f"{name}.json"))
