"""Options that all connectors of messages have."""

from __future__ import annotations

from typing import Literal

from pydantic import ByteSize, Field

from beam_datahub.component.config import Config


class MessageReadOptions(Config):
    """How messages become records."""

    format: Literal["json", "avro", "protobuf", "csv", "text", "bytes"] = "json"
    """What a message's body is: a JSON object; Avro or Protobuf by the connection's `registry`; a CSV record without a header,
    whose columns the `schema` tells; or text or bytes, which make the column `value`."""

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """What stands between the fields of CSV."""

    max_record_bytes: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), gt=0)
    """A longer body is rejected as malformed."""

    sample: int = Field(default=1_000, gt=0)
    """How many messages discovery looks at."""


class MessageWriteOptions(Config):
    """How records become messages."""

    format: Literal["json", "avro", "csv", "text"] = "json"
    """What a message's body is: the record as a JSON object; as Avro by the connection's `registry`; as a CSV record without a
    header; or a single column."""

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """What stands between the fields of CSV."""

    headers: str | None = None
    """A column of the type MAP(VARCHAR, VARCHAR) that becomes the message's headers; it is not part of the body."""

    registry_subject: str | None = None
    """The registry's subject for `avro`; `<place>-value` when left out."""
