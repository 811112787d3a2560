"""What the store holds of schemas, as frozen records. Times are aware and in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

SchemaType = Literal["json", "avro", "protobuf"]
Compatibility = Literal["none", "backward", "backward_transitive", "forward", "forward_transitive", "full", "full_transitive"]


@dataclass(frozen=True)
class SchemaReference:
    """What a schema imports: the name that it uses, and the subject and version that it means."""

    name: str
    subject: str
    version: int


@dataclass(frozen=True)
class SchemaText:
    """A schema by its id, whatever subjects have it."""

    id: int
    type: SchemaType
    text: str
    references: tuple[SchemaReference, ...]


@dataclass(frozen=True)
class SchemaVersion:
    """One version of a subject. `id` belongs to the text: the same text under two subjects has one id."""

    subject: str
    version: int
    id: int
    type: SchemaType
    text: str
    references: tuple[SchemaReference, ...]
    deleted: bool
    created_at: datetime
    created_by: str


@dataclass(frozen=True)
class Subject:
    """A subject; `compatibility` None follows the store's own setting. `versions` are those that are not deleted."""

    name: str
    compatibility: Compatibility | None
    versions: tuple[int, ...]
    deleted: bool
