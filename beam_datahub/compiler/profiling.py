"""Profiles rows under way: each bundle's profile leaves as a report, and the commit merges them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from beam_datahub.compiler.plan import PlanProfile
from beam_datahub.kernels.profiling import Profile
from beam_datahub.kernels.profiling.background import Profiler
from beam_datahub.kernels.profiling.summary import summarise

KIND = "profile"


class BundleProfile:
    """The profile of what one bundle sees of a step; `threads` as in `KernelOptions`."""

    def __init__(self, wanted: PlanProfile, threads: int | None) -> None:
        self._wanted = wanted
        # A worker that has one core has no use for threads beside the one that works.
        self._threads = 0 if threads == 1 else threads or os.cpu_count() or 1
        self._profiler: Profiler | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch."""
        if self._profiler is None:
            assert self._wanted.schema is not None
            self._profiler = Profiler(self._wanted.schema, self._wanted.columns, threads=self._threads)
        self._profiler.add(batch)

    def report(self) -> Iterator[tuple[str, str]]:
        """The report of the bundle, if it saw anything."""
        if self._profiler is not None:
            found, self._profiler = self._profiler.finish(), None
            body = {"step": self._wanted.step, "profile": base64.b64encode(found.to_bytes()).decode()}
            yield KIND, json.dumps(body)

    def discard(self) -> None:
        """Forget what was taken, of a bundle that broke."""
        if self._profiler is not None:
            self._profiler.close()
            self._profiler = None


class MergedProfiles:
    """The profiles of a run, from the reports of all its bundles."""

    def __init__(self, wanted: tuple[PlanProfile, ...]) -> None:
        self._wanted = {each.step: each for each in wanted}
        self._profiles = {each.step: Profile.of(each.schema, each.columns) for each in wanted if each.schema is not None}

    def add(self, body: str) -> None:
        """Take a report."""
        facts = json.loads(body)
        self._profiles[facts["step"]].merge(Profile.from_bytes(base64.b64decode(facts["profile"])))

    def to_json(self) -> dict[str, Any]:
        """For each step what people read (`summary`), and the sketches that merge with those of other runs."""
        return {step: _told(each, self._wanted[step]) for step, each in self._profiles.items()}


def _told(profile: Profile, wanted: PlanProfile) -> dict[str, Any]:
    values = wanted.values is not False
    private = [path for path in profile.columns if any(_is_part(path, name) for name in wanted.private)]
    summary = summarise(profile, values=values, private=private)
    kept = profile.without_values(private) if values else profile.without_values()
    return {"summary": summary, "sketches": base64.b64encode(kept.to_bytes()).decode()}


def _is_part(path: str, column: str) -> bool:
    """Whether a path of a profile is a column, or a part of it."""
    return path == column or path.startswith((f"{column}.", f"{column}["))


def sketches(profiles: Mapping[str, Any]) -> dict[str, Profile]:
    """Step → profile, from what `MergedProfiles.to_json` gave."""
    return {step: Profile.from_bytes(base64.b64decode(each["sketches"])) for step, each in profiles.items()}
