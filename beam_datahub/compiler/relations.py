"""Splits whose records a stage's first query reads itself, and those that it has to be given after all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import duckdb

from beam_datahub.compiler.plan import Read
from beam_datahub.compiler.stage import StageResult, StageRunner
from beam_datahub.component.source import Relation, Split
from beam_datahub.kernels.session import KernelSession

# Opens a session that may read a file.
Opening = Callable[[str], KernelSession]


class RelationReader:
    """Runs a stage over relations of its source, with a session that can read the file at hand and no other."""

    def __init__(self, read: Read, opening: Opening) -> None:
        self._read, self._opening = read, opening
        self._file: str | None = None
        self._session: KernelSession | None = None
        self._failed = False

    def relations(self, split: Split) -> Sequence[Relation]:
        """The split as relations; none where it has to be read."""
        if not self._read.source.capabilities.relations or self._read.increment is not None:
            return ()
        self._failed = False
        return self._read.source.relations(split, self._read.request)

    def run(self, relation: Relation, runner: StageRunner, session: Callable[[], KernelSession]) -> StageResult | None:
        """What comes of a relation; None where its split has to be read, and then the rest of the split that it is of as well:
        records at fault seldom come alone.
        """
        found = None
        if not self._failed:
            with suppress(duckdb.Error):
                reader = self._reader(relation)
                found = runner.read(relation.sql, relation.rows, reader, session) if reader is not None else None
            self._failed = found is None
        return found

    def _reader(self, relation: Relation) -> KernelSession | None:
        """The session of the relation's file; None where it finds other types there than the plan has promised."""
        if self._file != relation.file:
            self.close()
            self._session, self._file = self._opening(relation.file), relation.file
        assert self._session is not None
        same = self._session.describe(relation.sql).equals(self._read.request.projected, check_metadata=False)
        return self._session if same else None

    def close(self) -> None:
        """Close the session."""
        session, self._session, self._file = self._session, None, None
        if session is not None:
            with suppress(duckdb.Error):
                session.close()
