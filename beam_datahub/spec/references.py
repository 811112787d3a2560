"""Puts the values of `${env.NAME}`, `${param.NAME}` and `${secret.NAME}` into the texts of a spec.

A text that is just one `${param.NAME}` becomes the parameter's value with its type; inside a longer text the value is
written out. `$${param.NAME}` stays as `${param.NAME}`. Keys are not touched, except in a reusable transformation, whose
output columns may be named by its parameters. A text with a secret in it is a `Secret` as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from beam_datahub.errors import AccessDenied, InvalidValue, MissingValue, SpecError, UnknownName
from beam_datahub.security import Reference, Secret, SecretProvider, Secrets
from beam_datahub.security.secret import find, missing
from beam_datahub.spec.tree import Keys

_REFERENCE = re.compile(r"(\$?)\$\{(env|param|secret)\.([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class References:
    """Resolves references. `kinds` are those that may stand in the texts; errors are handed to `report`."""

    def __init__(
        self,
        *,
        parameters: Mapping[str, Any],
        environment: Mapping[str, str],
        report: Callable[[SpecError, Keys], None],
        providers: Sequence[SecretProvider] = (),
        secrets: Secrets | None = None,
        kinds: Sequence[str] = ("env", "param", "secret"),
        in_keys: bool = False,
    ) -> None:
        self._parameters = parameters
        self._environment = environment
        self._providers = providers
        self._secrets = secrets if secrets is not None else Secrets()
        self._report = report
        self._kinds = kinds
        self._in_keys = in_keys
        # Where a key was renamed: the paths of keys below it, new → as written.
        self.moved: dict[Keys, Keys] = {}

    def resolve(self, value: Any, keys: Keys = ()) -> Any:
        """`value` with every reference in it resolved; `keys` is its place."""
        return self._resolve(value, keys, keys)

    def _resolve(self, value: Any, keys: Keys, renamed: Keys) -> Any:
        if keys != renamed:
            self.moved[renamed] = keys
        if isinstance(value, dict):
            found = {}
            for key, each in value.items():
                name = self._key(key, (*keys, key))
                found[name] = self._resolve(each, (*keys, key), (*renamed, name))
            return found
        if isinstance(value, list):
            return [self._resolve(each, (*keys, place), (*renamed, place)) for place, each in enumerate(value)]
        return self._text(value, keys) if isinstance(value, str) else value

    def _key(self, key: str, keys: Keys) -> str:
        if not _REFERENCE.search(key):
            return key
        if not self._in_keys:
            self._report(InvalidValue("a reference cannot stand in a key"), keys)
            return key
        found = self._text(key, keys)
        if isinstance(found, Secret):
            self._report(InvalidValue("a secret cannot stand in a key"), keys)
            return key
        return as_text(found)

    def _text(self, text: str, keys: Keys) -> Any:
        parts: list[Any] = []
        position = 0
        for match in _REFERENCE.finditer(text):
            parts.append(text[position : match.start()])
            position = match.end()
            if match[1]:
                parts.append(match[0][1:])
            else:
                parts.append(self._value(match[2], match[3], keys))
        if not position:
            return text
        parts.append(text[position:])
        parts = [part for part in parts if part != ""]
        if len(parts) == 1:
            return Secret([parts[0][0]], parts[0][1]) if isinstance(parts[0], tuple) else parts[0]
        if any(isinstance(part, (tuple, Secret)) for part in parts):
            return _composed(parts)
        return "".join(as_text(part) for part in parts)

    def _value(self, kind: str, name: str, keys: Keys) -> Any:
        written = f"${{{kind}.{name}}}"
        if not _NAME.fullmatch(name):
            hint = "letters, digits, '_', '.' and '-', beginning with a letter or '_'"
            self._report(InvalidValue(f"'{name}' in {written} is not a name", hint=hint), keys)
        elif kind not in self._kinds:
            allowed = " and ".join(f"${{{each}.NAME}}" for each in self._kinds)
            self._report(InvalidValue(f"{written} cannot stand here", hint=f"only {allowed} can"), keys)
        elif kind == "param":
            if name in self._parameters:
                return self._parameters[name]
            unknown = UnknownName("parameter", name, self._parameters)
            unknown.hint = unknown.hint or f"declare it: `parameters: {{{name}: {{type: string}}}}`"
            self._report(unknown, keys)
        elif kind == "env":
            if name in self._environment:
                return self._environment[name]
            self._report(MissingValue(f"the environment variable {name} is not set", hint=f"export {name}=…"), keys)
        else:
            return self._secret(name, keys)
        return written

    def _secret(self, name: str, keys: Keys) -> Any:
        try:
            found = find(name, self._providers)
        except AccessDenied as error:
            self._report(MissingValue(error.reason, hint=error.hint), keys)
            return Secret([Reference("file", name)])
        if found is None:
            self._report(missing(name), keys)
            return Secret([Reference("environment", name)])
        self._secrets.add(found[1])
        return found


def _composed(parts: list[Any]) -> Secret:
    pieces: list[str | Reference] = []
    texts: list[str] | None = []
    for part in parts:
        if isinstance(part, tuple):
            pieces.append(part[0])
            if texts is not None:
                texts.append(part[1])
        elif isinstance(part, Secret):
            pieces.extend(part.parts)
            # Without a value it could not be resolved, which is reported already: the whole has none, either.
            texts = None if texts is None or not part.is_known else [*texts, part.reveal()]
        else:
            pieces.append(as_text(part))
            if texts is not None:
                texts.append(as_text(part))
    return Secret(pieces, "".join(texts) if texts is not None else None)


def as_text(value: Any) -> str:
    """`value` as it stands inside a longer text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    return str(value)
