"""A secret in a spec: text that components can use and that nothing shows.

A `Secret` pickles as a reference (provider and name), never as its value: a job file holds no secret, and a worker
resolves the reference again with its own providers. So every worker needs the same variables or files as the launcher.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from beam_datahub.errors import MissingValue
from beam_datahub.security.providers import ENVIRONMENT_PREFIX, SecretProvider, default_providers

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

MASK = "**********"


@dataclass(frozen=True)
class Reference:
    """The name of a secret and of the provider that has it."""

    provider: str
    name: str


class Secrets:
    """The secret values that are known, for redaction; it shows and pickles none of them."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        for value in values:
            self.add(value)

    def add(self, value: str) -> None:
        """Know `value`, also as it looks inside URLs, JSON and Python literals."""
        if value:
            self._values |= {value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], repr(value)[1:-1]}

    def __iter__(self) -> Iterator[str]:
        # Longest first: a secret that contains another one must go as a whole.
        return iter(sorted(self._values, key=len, reverse=True))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({len(self._values)} known)"

    def __reduce__(self) -> tuple[Any, ...]:
        return (Secrets, ())


# What this process has resolved so far; workers fill it as they use their secrets, so that their logs are redacted, too.
known = Secrets()


class Secret:
    """Text with at least one secret in it, such as a password or a URL that holds one.

    `parts` are plain texts and references, in order; `reveal` gives the whole text. Use it as the type of a config
    field: such a field takes `${secret.NAME}` and refuses plain text, which would stand in clear in the spec and in job
    files. A field that takes both is `Secret | str`.
    """

    __slots__ = ("_parts", "_text")

    def __init__(self, parts: Sequence[str | Reference], text: str | None = None) -> None:
        self._parts = tuple(parts)
        self._text = text

    @property
    def references(self) -> tuple[Reference, ...]:
        """The secrets that the text is made of."""
        return tuple(part for part in self._parts if isinstance(part, Reference))

    @property
    def parts(self) -> tuple[str | Reference, ...]:
        """The plain texts and references that make up the text."""
        return self._parts

    @property
    def is_known(self) -> bool:
        """Whether its value is in memory already."""
        return self._text is not None

    def reveal(self) -> str:
        """The text in clear. Raises MissingValue where no provider of this machine has the secret."""
        if self._text is None:
            providers = default_providers()
            self._text = "".join(part if isinstance(part, str) else resolve(part, providers) for part in self._parts)
        return self._text

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._parts == other._parts

    def __hash__(self) -> int:
        return hash(self._parts)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return (Secret, (self._parts,))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            _validate,
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "password", "pattern": r"\$\{secret\.[^}]+\}"}


def _validate(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    # The value itself may be the very password: the message must not repeat it.
    raise ValueError("must be a secret, written ${secret.NAME}, and not stand in clear in the spec")


def find(name: str, providers: Iterable[SecretProvider]) -> tuple[Reference, str] | None:
    """Where the secret `name` is and its value, from the first provider that has it."""
    for provider in providers:
        value = provider.get(name)
        if value is not None:
            known.add(value)
            return Reference(provider.name, name), value
    return None


def resolve(reference: Reference, providers: Iterable[SecretProvider]) -> str:
    """The value behind `reference`, from the provider that it names, else from any. Raises MissingValue."""
    ordered = sorted(providers, key=lambda provider: provider.name != reference.provider)
    found = find(reference.name, ordered)
    if found is None:
        raise missing(reference.name)
    return found[1]


def missing(name: str) -> MissingValue:
    """The error that no provider has the secret `name`."""
    return MissingValue(
        f"the secret '{name}' is not known",
        hint=f"set {ENVIRONMENT_PREFIX}{name.upper()}, or put it into the file {name} of the folder BEAM_DATAHUB_SECRETS_DIR",
    )
