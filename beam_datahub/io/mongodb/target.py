"""The collection that is written, as the server describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from beam_datahub.errors import TargetUnusable

if TYPE_CHECKING:
    from pymongo.database import Database

# What a collection that takes another's place must have of it; what else there is (capped, time series) cannot be taken over.
_KEPT = ("validator", "validationLevel", "validationAction", "collation")


def _described(database: Database[dict[str, Any]], name: str) -> dict[str, Any]:
    found = (each for each in database.list_collections(filter={"name": name}) if each["name"] == name)
    return dict(next(found, {}))


def staging_options(database: Database[dict[str, Any]], name: str) -> dict[str, Any]:
    """What a collection that gets documents for another must have of it: its validator and its collation."""
    options = _described(database, name).get("options", {})
    return {key: options[key] for key in _KEPT if key in options}


def refuse_target(database: Database[dict[str, Any]], name: str, *, overwriting: bool = False) -> None:
    """Refuse a collection that cannot be written so. Raises TargetUnusable."""
    found = _described(database, name)
    kind, options = found.get("type", "collection"), found.get("options", {})
    if kind == "view":
        raise TargetUnusable(f"'{name}' is a view", hint="write to the collection behind it")
    if overwriting and (kind == "timeseries" or options.get("capped")):
        what = "a time series" if kind == "timeseries" else "capped"
        raise TargetUnusable(f"'{name}' is {what}, and a new collection in its place would not be", hint="append to it")
