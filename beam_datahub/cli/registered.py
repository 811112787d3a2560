"""From what the user names to a spec and what a run's record keeps of it: a file, a folder, or a registered integration."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_datahub.runtime.store_link import Location, StoreLink
    from beam_datahub.spec import SpecDocument


def spec_of(
    named: str, parameters: Iterable[tuple[str, str]], location: Location
) -> tuple[SpecDocument, dict[str, Any], StoreLink | None]:
    """The spec that `named` means and the facts of it for a run's record.

    A name that is no file is looked up in the store, whose link comes back as well. Raises SpecError.
    """
    from beam_datahub.cli.specs import opened, spec_file, with_connections
    from beam_datahub.runtime.spec_facts import spec_facts
    from beam_datahub.spec.tree import read_text

    given = list(parameters)
    if os.path.exists(named) or not _is_name(named) or not location.exists():
        document = with_connections(opened(named, given), location)
        return document, spec_facts(document, read_text(Path(spec_file(named)))), None
    from beam_datahub.errors import UnknownName, UnreadableSpec
    from beam_datahub.runtime.store_link import link_store

    store = link_store(location)
    try:
        version = store.reader.integrations.version(named)
    except UnknownName as error:
        store.close()
        raise UnreadableSpec(
            f"there is no file '{named}', and no integration of that name is registered",
            hint=error.hint or "name the spec's file, or register it with `beam-datahub apply`",
        ) from error
    document, facts = text_of(
        version.spec, named, version.path, dict(given), label=f"{named}@{version.version}", integration=named
    )
    return with_connections(document, location), facts, store


def text_of(
    text: str, name: str, path: str | None, parameters: Mapping[str, Any], *, label: str, integration: str | None = None
) -> tuple[SpecDocument, dict[str, Any]]:
    """The spec in a text of the store, whose relative paths start where its file stood."""
    from beam_datahub.runtime.spec_facts import spec_facts
    from beam_datahub.spec import loads

    folder = os.path.dirname(path) if path else None
    suffix = ".json" if path is not None and path.endswith(".json") else ""
    document = loads(text, name=label + suffix, folder=folder, parameters=parameters)
    return document, {**spec_facts(document, text, integration=integration), "path": path}


def _is_name(named: str) -> bool:
    return not any(sign in named for sign in "/\\") and not named.endswith((".yaml", ".yml", ".json"))
