"""Connections that are stored under a name: looked up for a spec, kept with their secrets sealed, tested, re-sealed."""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from beam_datahub.component.registry import component, is_known
from beam_datahub.component.source import Report
from beam_datahub.errors import DataHubError, ErrorGroup, InvalidValue, SpecError, UnknownName, WrongKey
from beam_datahub.security import Reference, Secret, Secrets, default_providers
from beam_datahub.security.providers import SealedSecrets
from beam_datahub.security.sealing import KEY_VARIABLE, Sealer, key_path, load_sealer, new_key, read_keys, use_sealer, write_keys
from beam_datahub.security.secret import known
from beam_datahub.spec.references import References
from beam_datahub.spec.words import spec_errors
from beam_datahub.store.location import Location, locate
from beam_datahub.store.records import Connection

if typing.TYPE_CHECKING:
    from beam_datahub.store.store import Store

ROLES = ("source", "sink")


def context_of(name: str, option: str) -> str:
    """What a sealed option belongs to: its text opens nowhere else."""
    return f"connection/{name}/{option}"


class ConnectionLookup:
    """Looks connections up for specs; opens the store when the first name is asked for."""

    def __init__(self, location: Location | None = None) -> None:
        self._location = location
        self._found: dict[str, Connection] = {}

    def settings(self, name: str, connector: str, secrets: Secrets) -> Mapping[str, Any]:
        """The settings of a stored connection as a spec would write them; see `StoredConnections`."""
        location = self._location or locate()
        stored = self._found.get(name) or self._load(location, name)
        if stored.connector != connector and not _reach_alike(stored.connector, connector):
            raise InvalidValue(f"the connection '{name}' is one of '{stored.connector}', not of '{connector}'")
        return settings_of(stored, location, secrets)

    def _load(self, location: Location, name: str) -> Connection:
        if not location.exists():
            hint = f"`beam-datahub connections add {name} CONNECTOR` stores one; BEAM_DATAHUB_STORE names another store"
            error = UnknownName("connection", name)
            error.hint = hint
            raise error
        from beam_datahub.store.store import open_store

        with open_store(location) as store:
            self._found = {each.name: each for each in store.reader.connections.all()}
        if name not in self._found:
            error = UnknownName("connection", name, self._found)
            error.hint = error.hint or f"`beam-datahub connections add {name} CONNECTOR` stores one"
            raise error
        return self._found[name]


def settings_of(stored: Connection, location: Location, secrets: Secrets) -> dict[str, Any]:
    """The settings of a connection, its references resolved and its sealed options opened as `Secret`s.

    Raises MissingValue for a reference that leads nowhere, WrongKey where a secret does not open.
    """
    errors: list[SpecError] = []
    resolved = References(
        parameters={},
        environment=os.environ,
        providers=default_providers(),
        secrets=secrets,
        report=lambda error, keys: errors.append(_named(error, stored.name, keys)),
        kinds=("env", "secret"),
    ).resolve(dict(stored.options))
    if errors:
        raise errors[0]
    if stored.sealed:
        sealer = load_sealer(location.key_file)
        use_sealer(sealer)
        for option, sealed in stored.sealed.items():
            _put(resolved, option, _opened(sealer, stored.name, option, sealed, secrets))
    return resolved  # type: ignore[no-any-return]


def _named(error: SpecError, name: str, keys: tuple[str | int, ...]) -> SpecError:
    error.reason = f"{error.reason} (option '{'.'.join(map(str, keys))}' of the connection '{name}')"
    return error


def _opened(sealer: Sealer, name: str, option: str, sealed: str, secrets: Secrets) -> Secret:
    context = context_of(name, option)
    value = sealer.unseal(sealed, context).decode()
    secrets.add(value)
    known.add(value)
    return Secret([Reference(SealedSecrets.name, SealedSecrets.reference(sealed, context))], value)


def _put(options: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        options = options.setdefault(name, {})
    options[last] = value


# what a connector takes


@dataclass(frozen=True)
class SecretOption:
    """A secret option of a connector's connection; `name` has dots where it lies inside another one."""

    name: str
    required: bool
    description: str


def kinds_of(connector: str) -> dict[str, Any]:
    """The classes of a connector by role (`source`, `sink`). Raises UnknownName."""
    if not any(is_known(role, connector) for role in ROLES):  # type: ignore[arg-type]
        raise UnknownName("connector", connector, _connectors())
    found: dict[str, Any] = {}
    for role in ROLES:
        try:
            found[role] = component(role, connector)  # type: ignore[arg-type]
        except UnknownName:
            continue
    if not found:
        raise UnknownName("connector", connector, _connectors())
    return found


def _reach_alike(one: str, other: str) -> bool:
    """Whether two connectors reach the same kind of system by the same settings: a database's tables and its log."""
    if not any(is_known(role, name) for role in ROLES for name in (one, other)):  # type: ignore[arg-type]
        return False
    kinds = [{kind.Connection for kind in kinds_of(name).values()} for name in (one, other)]
    # What many kinds of systems have in common, as files have paths, is in no connector's own module.
    return any(not each.__module__.startswith("beam_datahub.component.") for each in kinds[0] & kinds[1])


def _connectors() -> list[str]:
    from beam_datahub.component.registry import names

    return sorted({*names("source"), *names("sink")})


def secret_options(connector: str) -> list[SecretOption]:
    """The options of a connector's connection that are secrets, those within other options included. Raises UnknownName."""
    found: dict[str, SecretOption] = {}
    for kind in kinds_of(connector).values():
        for option in _secrets_of(kind.Connection):
            found.setdefault(option.name, option)
    return list(found.values())


def _secrets_of(model: type[BaseModel], prefix: str = "", *, needed: bool = True, depth: int = 0) -> list[SecretOption]:
    found: list[SecretOption] = []
    for field, info in model.model_fields.items():
        name = prefix + (info.alias or field)
        required = needed and info.is_required()
        for kind in _types_in(info.annotation):
            if kind is Secret:
                found.append(SecretOption(name, required, " ".join((info.description or "").split())))
            elif isinstance(kind, type) and issubclass(kind, BaseModel) and depth < 4:
                found += _secrets_of(kind, f"{name}.", needed=required, depth=depth + 1)
    return found


def _types_in(annotation: Any) -> list[Any]:
    inner = typing.get_args(annotation)
    # A list or a mapping of secrets has no options with names of their own.
    if not inner or typing.get_origin(annotation) in (list, tuple, dict, set, frozenset):
        return [annotation]
    return [found for each in inner for found in _types_in(each)]


def checked(name: str, connector: str, settings: Mapping[str, Any]) -> None:
    """Refuse settings that the connector does not take, neither to read nor to write. Raises SpecError."""
    failures: list[list[SpecError]] = []
    for kind in kinds_of(connector).values():
        try:
            kind.Connection.model_validate(dict(settings))
            return
        except ValidationError as failure:
            failures.append(
                [
                    _named(error, name, keys) if keys else error
                    for keys, error in spec_errors(kind.Connection, dict(settings), failure)
                ]
            )
        except SpecError as error:
            failures.append([error])
    found = min(failures, key=len)
    # A misspelt option is missing under its right name as well: the one explains the other.
    told = [error for error in found if isinstance(error, UnknownName)] or found
    raise told[0] if len(told) == 1 else ErrorGroup(told)


# keeping


def new_connection(
    name: str,
    connector: str,
    options: Mapping[str, Any],
    secrets: Mapping[str, str],
    location: Location,
    *,
    description: str | None = None,
    check: bool = True,
) -> Connection:
    """A connection to store: `options` in clear, with dots in the names of those within others; `secrets` are sealed.

    The key is created where there is none. With `check` its references must resolve here, and the connector take them all.
    Raises SpecError, WrongKey.
    """
    plain: dict[str, Any] = {}
    for option, value in options.items():
        _put(plain, option, value)
    kinds_of(connector)
    sealer = load_sealer(location.key_file, create=True) if secrets else None
    sealed = (
        {option: sealer.seal(value.encode(), context_of(name, option)) for option, value in secrets.items()} if sealer else {}
    )
    made = Connection(name, connector, plain, sealed, description)
    if check:
        checked(name, connector, settings_of(made, location, Secrets()))
    return made


def test_connection(stored: Connection, location: Location, folder: str, options: Mapping[str, Any] | None) -> dict[str, Report]:
    """What the connector finds when it reaches for the system, by role (`source`, `sink`); relative paths start at `folder`.
    `options` are those of a source or destination: with a table, the rights on it are looked at as well.

    Where a role's own options have no defaults, what the connection alone can tell stands under `either`; nothing does where
    that takes a spec. Raises SpecError, WrongKey.
    """
    settings = settings_of(stored, location, Secrets())
    found: dict[str, Report] = {}
    for role, kind in kinds_of(stored.connector).items():
        try:
            connection = kind.Connection.model_validate(dict(settings))
        except ValidationError:
            continue
        resolved = getattr(connection, "resolved", None)
        if resolved is not None:
            connection = resolved(folder)
        try:
            found[role] = kind(connection, kind.Options(**(options or {}))).check()
        except ValidationError:
            if "either" not in found and (report := kind(connection, kind.Options.model_construct()).reach()) is not None:
                found["either"] = report
    return found


def rotate(store: Store, *, fresh: bool = True) -> tuple[str | None, list[str]]:
    """Seal the secrets of all connections with another key; the new key's id and the names of the connections.

    Where nothing was ever sealed there is no key, and none is made.

    With `fresh` a new key is put before those in the key file, which stay until nothing needs them: another process may
    be sealing with the old one just now. Keys in the environment are the user's to change: put the new one first.
    Raises WrongKey, with nothing changed, where a secret does not open.
    """
    location = store.location
    path = key_path(location.key_file)
    connections = store.reader.connections.all()
    if not any(each.sealed for each in connections) and not os.environ.get(KEY_VARIABLE, "").strip() and not path.exists():
        return None, []
    before = load_sealer(location.key_file)
    for each in connections:
        for option, sealed in each.sealed.items():
            before.unseal(sealed, context_of(each.name, option))
    if fresh:
        if os.environ.get(KEY_VARIABLE, "").strip():
            raise WrongKey(
                f"the keys are in {KEY_VARIABLE}, which only you can change",
                hint="put the new key before the old one, then `beam-datahub connections rotate --same-keys`",
            )
        write_keys(path, [new_key(), *read_keys(path)])
    sealer = load_sealer(location.key_file)
    done: list[str] = []
    with store.writer.together():
        for each in connections:
            if each.sealed and not all(sealer.is_current(sealed) for sealed in each.sealed.values()):
                again = {option: sealer.reseal(text, context_of(each.name, option)) for option, text in each.sealed.items()}
                store.writer.connections.reseal(each.name, again)
                done.append(each.name)
    return sealer.current, done


def unreadable(store: Store) -> list[tuple[str, str]]:
    """The connections whose secrets do not open with the keys at hand, and why."""
    found: list[tuple[str, str]] = []
    for each in store.reader.connections.all():
        if not each.sealed:
            continue
        try:
            sealer = load_sealer(store.location.key_file)
            for option, sealed in each.sealed.items():
                sealer.unseal(sealed, context_of(each.name, option))
        except DataHubError as error:
            found.append((each.name, error.reason))
    return found
