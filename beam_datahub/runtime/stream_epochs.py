"""Publishes a stream epoch by epoch: what is decided stands in a journal, is published, and then the cursors move."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from beam_datahub.compiler.dead_letter import Identity
from beam_datahub.compiler.epochs import Epoch, Epochs, Terms, publish_epoch, write_journal
from beam_datahub.compiler.increment import Marks, cursors, marks
from beam_datahub.compiler.plan import Plan
from beam_datahub.compiler.returns import Published, publish_all
from beam_datahub.errors import ConnectorError, Transient
from beam_datahub.spec import StreamSpec

LOGGER = logging.getLogger("beam_datahub.run")

Keep = Callable[[Mapping[str, Any], Mapping[str, Any]], None]

# How long an epoch of a stream with windows waits for a moment at which nothing is under way, before sources pause to make one.
_PATIENCE_SECONDS = 1.0


class Judged(Exception):
    """An epoch has broken a rule or the budget: the stream ends with it."""


class Publisher:
    """The epochs of one stream, through all of its attempts. `keep` records in one transaction where the cursors go and what the
    stream has done so far; `reached` are the positions to begin with.
    """

    def __init__(self, plan: Plan, spec: StreamSpec, journal: str | None, keep: Keep | None, reached: Mapping[str, Any]) -> None:
        self._plan, self._spec, self._journal, self._keep_them = plan, spec, journal, keep
        self._units = marks(plan).positions
        self._revisions = {name: dict(found.revisions) for name, found in self._units.items()}
        self.reached: dict[str, dict[str, Any]] = {name: dict(parts) for name, parts in reached.items()}
        self.epochs: Epochs | None = None
        self.pending: Epoch | None = None
        self.trials = 0
        self.moved = False
        """Whether an epoch with records was published since somebody looked."""
        self.verdict: Mapping[str, Any] | None = None
        """Why the stream ends: an epoch was judged."""
        self.wants_rest = False
        """Whether sources are to pause until an epoch is decided on."""
        self._next_commit = self._next_trial = 0.0

    def begin(self, terms: Terms) -> None:
        """Another attempt begins: at what is published, with the books as they are."""
        if self.epochs is None:
            run_id = terms.targets[0].request.run_id if terms.targets else ""
            identity = Identity(run_id, self._plan.name, sealed=bool(self._plan.metadata.get("sealed")))
            self.epochs = Epochs(terms, self.reached, identity)
        else:
            self.epochs.begin_anew(self.reached)
        self._next_commit = time.monotonic() + self._spec.commit_every
        self.wants_rest = False

    def add(self, source: str, partitions: Mapping[str, Any]) -> None:
        """Know of the partitions of a source, and where they begin unless they were followed before."""
        for name, position in partitions.items():
            self.reached.setdefault(source, {}).setdefault(name, position)

    def keep_starts(self, known: Mapping[str, Mapping[str, Any]]) -> None:
        """Record where partitions begin that nobody has followed: a stream from `latest` must not skip what comes meanwhile."""
        fresh = {
            source: {name: at for name, at in parts.items() if name not in known.get(source, {})}
            for source, parts in self.reached.items()
        }
        if any(fresh.values()):
            self._keep(self._cursors(fresh), {})

    def collect(self, folder: str) -> None:
        """Take what workers have reported."""
        assert self.epochs is not None
        for found in _taken(folder):
            self.epochs.take(found)

    def commit_when_due(self, *, at_once: bool = False) -> None:
        """Publish an epoch where it is time, or `at_once` where something is through. Raises Judged, ConnectorError."""
        now = time.monotonic()
        if self.pending is not None and now >= self._next_trial:
            self._publish()
        elif self.pending is None and (at_once or now >= self._next_commit):
            self.commit()
            assert self.epochs is not None
            if self.epochs.divides:
                self._next_commit, self.wants_rest = now + self._spec.commit_every, False
            else:
                self.wants_rest = self.epochs.is_under_way and now > self._next_commit + _PATIENCE_SECONDS

    def commit(self) -> None:
        """Decide on an epoch with all that is through, and publish it. Raises Judged, ConnectorError."""
        assert self.epochs is not None
        if self.pending is None:
            self.pending = self.epochs.next()
            if self.pending is None:
                return
            if self._journal is not None:
                report = self.epochs.report(self.pending)
                goal = self._cursors(self.pending.moved)
                write_journal(self._journal, self.pending, {**report, "status": "stopped", "cursors": goal})
        self._publish()

    def finish(self, wait: Callable[[float], None]) -> None:
        """Publish all that is through, and wait for a destination that is away: `wait` is given the seconds to the next trial."""
        self.commit()
        while self.pending is not None:
            wait(max(0.0, self._next_trial - time.monotonic()))
            self.commit()

    def _publish(self) -> None:
        """Publish the epoch that is decided on: just that one, until it is through, whatever breaks meanwhile."""
        epoch, epochs = self.pending, self.epochs
        assert epoch is not None
        assert epochs is not None
        try:
            returns = epoch.returns
            published = publish_all(epoch.chosen, returns) if returns is not None else Published(publish_epoch(epoch.chosen))
            told = epoch.with_returned(published.reasons)
            self._keep(self._cursors(epoch.moved), epochs.report(told))
        except ConnectorError as error:
            self.trials += 1
            if not isinstance(error, Transient) or self.trials > self._spec.restarts:
                raise
            LOGGER.warning("epoch %s could not be published, and is tried again: %s", epoch.number, error.reason)
            self._next_trial = time.monotonic() + self._spec.backoff.pause(self.trials)
            return
        epochs.done(told, published.done)
        published.forget()
        self.pending, self.trials = None, 0
        for source, parts in epoch.moved.items():
            self.reached[source].update(parts)
        if self._journal is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._journal)
        self.moved |= any(terms["read"] for terms in epoch.account.totals.values())
        if epoch.verdict["status"] != "completed":
            self.verdict = epoch.verdict
            raise Judged

    def _cursors(self, moved: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        wanted = {
            source: replace(found, revisions=self._revisions[source])
            for source, found in self._units.items()
            if moved.get(source)
        }
        return cursors(Marks(positions=wanted), {}, moved)

    def _keep(self, goal: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        if self._keep_them is not None:
            self._keep_them(goal, report)
        for source, each in goal.items():
            for partition in each["parts"]:
                self._revisions[source][partition] = self._revisions[source].get(partition, 0) + 1


def _taken(folder: str) -> Iterator[list[tuple[str, str]]]:
    """The reports that workers have left in a folder, the oldest first, each once."""
    if "://" in folder:
        yield from _taken_afar(folder)
        return
    for name in sorted(name for name in os.listdir(folder) if name.endswith(".json")):
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            found = json.loads(file.read())
        os.unlink(path)
        yield [(kind, body) for kind, body in found]


def _taken_afar(folder: str) -> Iterator[list[tuple[str, str]]]:
    from apache_beam.io.filesystems import FileSystems

    (matched,) = FileSystems.match([f"{folder}/*.json"])
    for path in sorted(each.path for each in matched.metadata_list):
        with FileSystems.open(path) as file:
            found = json.loads(file.read())
        FileSystems.delete([path])
        yield [(kind, body) for kind, body in found]
