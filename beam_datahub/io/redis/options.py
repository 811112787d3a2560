"""The options of reading and writing keys."""

from __future__ import annotations

import string
from typing import Literal

from pydantic import ByteSize, Field, model_validator

from beam_datahub.component.config import Config


class RedisReadOptions(Config):
    """Which keys are read, and how their values become records."""

    pattern: str = "*"
    """Which keys, as Redis writes patterns: `user:*`."""

    format: Literal["hash", "json", "string", "list", "set", "zset"] = "hash"
    """What is read of the keys: hashes, whose fields are the columns; strings that hold a JSON object; strings, as the column
    `value`; lists, a record for each element, with its `position` and `value`; sets, a record for each `member`; or sorted sets,
    with `member` and `score`. Keys that hold something else are left alone."""

    metadata: tuple[Literal["key", "ttl"], ...] = ("key",)
    """What else becomes columns: the key as `_key`, and how many seconds it has left as `_ttl`, NULL for one that stays."""

    max_record_bytes: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), gt=0)
    """A longer value is rejected as malformed."""

    sample: int = Field(default=1_000, gt=0)
    """How many keys discovery looks at."""

    batch_keys: int = Field(default=2_000, gt=0)
    """How many keys are asked for at a time."""


class RedisWriteOptions(Config):
    """Which keys are written, and what they get."""

    key_template: str | None = None
    """The name of a row's key, with columns of `key` in braces: `user:{id}`. When left out, the values with colons between."""

    format: Literal["hash", "json", "string"] = "hash"
    """What a key gets: a hash with the columns as fields, where NULL removes a field and fields that are not written stay; a
    string that holds the row as a JSON object; or a single column as a string."""

    ttl_seconds: int | None = Field(default=None, gt=0)
    """How long a key lives once it is written; when left out, a key that has an end keeps it."""

    ttl: str | None = None
    """A column that says so of each row, in seconds; where it is NULL, `ttl_seconds` counts. It is not written itself."""

    last_by: str | None = None
    """Of several rows with one key in a run, the one with the highest value of this column wins."""

    delete_marker: str | None = None
    """A BOOLEAN column: where it is true, the key is removed. It is not written itself."""

    max_value_bytes: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), gt=0)
    """A row whose value would be larger is rejected."""

    @model_validator(mode="after")
    def _sound(self) -> RedisWriteOptions:
        if self.key_template is not None:
            try:
                pieces = list(string.Formatter().parse(self.key_template))
            except ValueError as error:
                raise ValueError(f"`key_template` is no template: {error}") from None
            if any(name == "" or form or change for _, name, form, change in pieces):
                raise ValueError("`key_template` has braces without the name of a column alone")
        return self

    @property
    def placed(self) -> tuple[str, ...]:
        """The columns that the template names."""
        parsed = string.Formatter().parse(self.key_template or "")
        return tuple(name for _, name, _, _ in parsed if name is not None)
