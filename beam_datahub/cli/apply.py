"""`apply`: registers an integration in the store, or a new version of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from beam_datahub.cli.options import json_option, set_option, spec_argument, store_option

if TYPE_CHECKING:
    from beam_datahub.spec import SpecDocument

_SHOWN = 60
_Keys = tuple[str | int, ...]


@click.command(short_help="Register an integration, or a new version of it.")
@spec_argument
@set_option
@store_option
@json_option
def command(spec: str, parameters: tuple[tuple[str, str], ...], store: str | None, as_json: bool) -> None:
    """Register the integration of SPEC in the store, or a new version where it has changed, and show what is different.

    From then on it can be run by its name. SPEC is checked as `validate` does; sources that cannot be reached from here are told
    of, and no obstacle. `--set` gives values only for checking SPEC.
    """
    from beam_datahub.cli.run import warn
    from beam_datahub.cli.session import session
    from beam_datahub.cli.specs import opened, spec_file, with_connections
    from beam_datahub.errors import InvalidValue, UnknownName
    from beam_datahub.runtime.event_bus import tell_waiting
    from beam_datahub.runtime.store_link import locate, opened_store
    from beam_datahub.security import redact
    from beam_datahub.spec.tree import read_text

    session().as_json = as_json
    location = locate(store)
    document = with_connections(opened(spec, parameters), location)
    file = Path(spec_file(spec))
    text = read_text(file)
    if redact(text) != text:
        raise InvalidValue(
            "the spec has a password in clear, which the store would keep",
            hint="write ${secret.NAME} in its place",
            place=document.place(),
        )
    _check(document)
    name = document.integration.name
    with opened_store(store) as link:
        writer = link.writer
        try:
            before = link.reader.integrations.version(name)
        except UnknownName:
            before = None
        with writer.together():
            version, is_new = writer.integrations.apply(
                name, text, description=document.integration.description, path=str(file.resolve()), steps=list(_steps(document))
            )
            if is_new and before is None:
                writer.events.add(_told_of(document, version.version))
        tell_waiting(link, location, warn)
    changes = list(differences(before.spec, text, str(file))) if before is not None and is_new else []
    if as_json:
        found = {"integration": name, "version": version.version, "new": is_new, "changes": [_facts(*each) for each in changes]}
        click.echo(json.dumps({**found, "fingerprint": version.fingerprint}, default=str, ensure_ascii=False))
        return
    if not is_new:
        click.echo(f"{name}: unchanged, version {version.version}")
        return
    click.echo(f"{name}: {'registered, ' if before is None else ''}version {version.version}")
    for keys, old, new in changes:
        click.echo(f"  {_line(keys, old, new)}")
    if before is not None and not changes:
        click.echo("  only comments or formatting changed")


def _check(document: SpecDocument) -> None:
    """Raises what is wrong with the spec itself; what cannot be found out from here is said."""
    from beam_datahub.cli.run import warn
    from beam_datahub.cli.specs import dead_letter_folder, planned
    from beam_datahub.errors import ConnectorError, DataHubError, ErrorGroup

    try:
        planned(document, dead_letter_folder=dead_letter_folder(document))
    except DataHubError as failure:
        errors = failure.errors if isinstance(failure, ErrorGroup) else [failure]
        wrong = [each for each in errors if not isinstance(each, ConnectorError)]
        if len(wrong) == 1:
            raise wrong[0] from None
        if wrong:
            raise ErrorGroup(wrong) from None
        for each in errors:
            warn(f"not all of it could be checked: {each}")


def _told_of(document: SpecDocument, version: int) -> list[dict[str, Any]]:
    """The event for those who follow what the hub does, where there are any."""
    from beam_datahub.runtime.event_bus import wanted_events
    from beam_datahub.runtime.hub_events import CREATED, of_registration

    return [of_registration(document.integration, version)] if CREATED in wanted_events() else []


def _steps(document: SpecDocument) -> Iterator[Any]:
    from beam_datahub.runtime.spec_facts import registered_steps

    return registered_steps(document.integration)


class _Absent:
    """What one of two specs does not say."""


ABSENT = _Absent()


def differences(before: str, after: str, file: str) -> Iterator[tuple[_Keys, Any, Any]]:
    """What two specs say differently: (path of keys, before, after); ABSENT where one of them does not say it."""
    from beam_datahub.spec.tree import read_tree

    yield from _differences((), read_tree(before, file).value, read_tree(after, file).value)


def _differences(keys: _Keys, old: Any, new: Any) -> Iterator[tuple[_Keys, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences((*keys, key), old.get(key, ABSENT), new.get(key, ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        named = _by_id(old), _by_id(new)
        if named[0] is not None and named[1] is not None:
            yield from _differences(keys, *named)
            return
        for i in range(max(len(old), len(new))):
            yield from _differences((*keys, i), old[i] if i < len(old) else ABSENT, new[i] if i < len(new) else ABSENT)
    elif old is ABSENT or new is ABSENT or old != new:
        yield keys, old, new


def _by_id(items: list[Any]) -> dict[str, Any] | None:
    """Steps by their id, so that one that is put in between does not make all behind it look changed."""
    names = [item.get("id") or item.get("name") for item in items if isinstance(item, Mapping)]
    if not items or len(names) < len(items) or None in names or len(set(names)) < len(names):
        return None
    return dict(zip((str(name) for name in names), items, strict=True))


def _line(keys: _Keys, old: Any, new: Any) -> str:
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    if old is ABSENT:
        return f"+ {where}: {_shown(new)}"
    if new is ABSENT:
        return f"- {where}: {_shown(old)}"
    return f"~ {where}: {_shown(old)} → {_shown(new)}"


def _shown(value: Any) -> str:
    from beam_datahub.security import redact

    text = redact(value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False))
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _facts(keys: _Keys, old: Any, new: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"path": list(keys)}
    found |= {} if old is ABSENT else {"before": old}
    return found | ({} if new is ABSENT else {"after": new})
