"""What the store keeps of a spec: its text, the values that it was given, its steps; no secret is in any of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from beam_datahub.security import Secret, redact
from beam_datahub.store.records import Step

if TYPE_CHECKING:
    from beam_datahub.spec import Integration, SpecDocument


def spec_facts(document: SpecDocument, text: str | None, *, integration: str | None = None) -> dict[str, Any]:
    """What a run's record keeps of its spec: enough to run it again. A password that stands in it in clear is left out."""
    return {
        "text": None if text is None else redact(text),
        "path": None if document.path is None else os.path.abspath(document.path),
        "folder": str(document.folder),
        "integration": integration,
    }


def given_values(parameters: Mapping[str, Any]) -> dict[str, str]:
    """The values of `--set` as texts that hold no secret."""
    return {name: "" if isinstance(value, Secret) else str(value) for name, value in parameters.items()}


def registered_steps(integration: Integration) -> Iterator[Step]:
    """The steps of an integration as the store lists them."""
    for source in integration.sources.values():
        yield Step(source.name, "source", source.connector, (), _stored(source.connection), _plain(source.options))
    for step in integration.transformations:
        yield Step(step.id, "transformation", step.type, step.input, None, _plain(step.config))
    for sink in integration.destinations:
        yield Step(sink.id, "destination", sink.connector, sink.input, _stored(sink.connection), _plain(sink.options))
    letter = integration.dead_letter
    if letter is not None:
        yield Step("dead_letter", "dead_letter", letter.connector, (), _stored(letter.connection), _plain(letter.options))


def _stored(connection: Mapping[str, Any] | str) -> str | None:
    return connection if isinstance(connection, str) else None


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A step's config without secrets; `str` of a secret shows none."""
    found: dict[str, Any] = json.loads(redact(json.dumps(dict(config), default=str)))
    return found
