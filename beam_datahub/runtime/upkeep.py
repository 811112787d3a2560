"""The store as the command line looks after it; the database library is imported when it is asked for something."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from beam_datahub.store.location import Location

if TYPE_CHECKING:
    from beam_datahub.store.store import Store


def opened(location: Location) -> Store:
    """The store at a location; close it, or use it in a `with`."""
    from beam_datahub.store.store import open_store

    return open_store(location)


def upkeep() -> ModuleType:
    """What looks after a store: `beam_datahub.store.upkeep`."""
    from beam_datahub.store import upkeep as found

    return found


def make(location: Location) -> tuple[bool, str]:
    """Make a store where there is none; whether one was made, and its version. Raises StoreVersion for an older one."""
    with opened(location) as store:
        _, before, after = store.prepared(upgrade=False)
    return before is None, after


def upgraded(location: Location, backup: Path | None) -> tuple[str, str]:
    """Bring a store up to date, after copying it to `backup`; its version before and after."""
    from beam_datahub.store import upkeep as found

    with opened(location) as store:
        if backup is not None:
            found.backup(store, backup, any_version=True)
        _, before, after = store.prepared(upgrade=True)
        if before is not None and before != after:
            store.writing.audit_alone("upgrade", "store", str(location), before=before, after=after)
    return before or after, after
