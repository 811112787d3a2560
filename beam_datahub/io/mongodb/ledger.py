"""The collection in which a database keeps what runs began to write there and what they have published.

A run's entry says how far it is: `staging`, `publishing` or `committed`. From `publishing` on, everything that is needed to bring
it to its end stands in the entry, so that the same run, or the next one after a crash, can do so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from beam_datahub.component.file_owner import is_gone, owner
from beam_datahub.component.sink import Receipt, WriteRequest
from beam_datahub.errors import TargetUnusable

if TYPE_CHECKING:
    from pymongo.collection import Collection
    from pymongo.database import Database

LEDGER, PREFIX = "_beam_datahub_ledger", "_dh_stage_"
# What runs of other machines left is theirs to sweep, until nobody can be expected to come back for it.
_LOST_DAYS, _KEPT_DAYS = 7, 90


@dataclass(frozen=True)
class Publication:
    """What is to be published, and how: all that bringing it to its end needs."""

    target: str
    mode: str
    parts: tuple[tuple[str, int], ...]
    key: tuple[str, ...] = ()
    last_by: str | None = None
    delete_marker: str | None = None
    keep_nulls: bool = True
    names: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows were staged."""
        return sum(rows for _, rows in self.parts)

    def document(self) -> dict[str, Any]:
        """The same as a ledger keeps it."""
        found = dict(vars(self))
        return {**found, "parts": [list(part) for part in self.parts], "key": list(self.key), "names": list(self.names)}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Publication:
        """What a ledger keeps."""
        lists = {name: tuple(document[name]) for name in ("key", "names")}
        return cls(**{**document, **lists, "parts": tuple((name, rows) for name, rows in document["parts"])})


def staging_prefix(request: WriteRequest) -> str:
    """How the names of a run's staging collections for one destination begin."""
    return PREFIX + hashlib.sha256(f"{request.run_id}\0{request.step}".encode()).hexdigest()[:16] + "_"


class Ledger:
    """The ledger of a database, for one run and destination."""

    def __init__(self, database: Database[dict[str, Any]], target: str, request: WriteRequest) -> None:
        self._database, self._target, self._request = database, target, request
        self.entries: Collection[dict[str, Any]] = database[LEDGER]
        self._mine = {"_id": staging_prefix(request)}

    def begin(self) -> list[dict[str, Any]]:
        """Say that the run begins to write; gives the entries of dead runs that were publishing, to be brought to their end."""
        unfinished = self._sweep()
        entry = {
            "run_id": self._request.run_id,
            "step": self._request.step,
            "target": self._target,
            "owner": owner(),
            "begun_at": datetime.now(UTC),
            "state": "staging",
        }
        self.entries.update_one(self._mine, {"$setOnInsert": entry}, upsert=True)
        return unfinished

    def entry(self) -> dict[str, Any] | None:
        """The run's entry."""
        return self.entries.find_one(self._mine)

    def publishing(self, publication: Publication) -> None:
        """Say that publishing begins. Raises TargetUnusable where the run's entry is gone, and with it what it staged."""
        change = {"$set": {"state": "publishing", "publication": publication.document()}}
        if not self.entries.update_one({**self._mine, "state": "staging"}, change).matched_count:
            raise TargetUnusable("what the run staged was swept as that of a dead run", hint="run it again")

    def staging_again(self) -> None:
        """Say that publishing was refused, and taken back."""
        self.entries.update_one(self._mine, {"$set": {"state": "staging"}, "$unset": {"publication": ""}})

    def committed(self, identity: Any, rows: int) -> None:
        """Say that an entry is published."""
        change = {"$set": {"state": "committed", "rows": rows, "committed_at": datetime.now(UTC)}, "$unset": {"publication": ""}}
        self.entries.update_one({"_id": identity}, change)

    def forget(self) -> None:
        """Take the entry of a run that publishes nothing out, and its staging with it."""
        self.drop_staging(staging_prefix(self._request))
        self.entries.delete_one({**self._mine, "state": "staging"})

    def drop_staging(self, prefix: str) -> None:
        """Remove the staging collections whose names start so."""
        for name in self.staged(prefix):
            self._database.drop_collection(name)

    def staged(self, prefix: str = PREFIX) -> list[str]:
        """The names of the staging collections that start so."""
        return [
            name
            for name in self._database.list_collection_names(filter={"name": {"$regex": f"^{re.escape(prefix)}"}})
            if name.startswith(prefix)
        ]

    def _sweep(self) -> list[dict[str, Any]]:
        # Whoever stages has made an entry before.
        staged = self.staged()
        now, unfinished, known = datetime.now(UTC), [], set()
        for entry in self.entries.find():
            identity, state = entry["_id"], entry["state"]
            begun = entry["begun_at"].replace(tzinfo=UTC)
            known.add(identity)
            if state == "committed":
                if begun < now - timedelta(days=_KEPT_DAYS):
                    self.entries.delete_one({"_id": identity})
                if any(name.startswith(identity) for name in staged):
                    self.drop_staging(identity)
                continue
            gone = is_gone(entry["owner"])
            if identity == self._mine["_id"] or gone is False or (gone is None and begun > now - timedelta(days=_LOST_DAYS)):
                continue
            if state == "publishing":
                # Whoever puts its name there first brings it to its end.
                claimed = self.entries.update_one({"_id": identity, "owner": entry["owner"]}, {"$set": {"owner": owner()}})
                if claimed.modified_count:
                    unfinished.append(entry)
                continue
            self.drop_staging(identity)
            self.entries.delete_one({"_id": identity, "state": "staging"})
        for name in staged:
            # Its entry went, and its process died before it did.
            if not name.startswith(tuple(known)):
                self._database.drop_collection(name)
        return unfinished


def publication(
    request: WriteRequest,
    target: str,
    receipts: Sequence[Receipt],
    last_by: str | None,
    delete_marker: str | None,
    keep_nulls: bool,
) -> Publication:
    """What a run publishes."""
    return Publication(
        target,
        str(request.mode),
        tuple((receipt.location, receipt.rows) for receipt in receipts),
        request.key,
        last_by,
        delete_marker,
        keep_nulls,
        tuple(name for name in request.schema.names if name != delete_marker),
    )
