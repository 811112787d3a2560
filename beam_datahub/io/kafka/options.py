"""The options of reading and writing topics."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

from pydantic import ByteSize, Field, field_validator, model_validator

from beam_datahub.component.config import Config

MetadataColumn = Literal["key", "timestamp", "offset", "partition", "topic", "headers", "tombstone"]


class KafkaReadOptions(Config):
    """Which messages are read, and how they become records."""

    topic: str | tuple[str, ...] | None = None
    """The topic, or several."""

    pattern: str | None = None
    """A regular expression in place of names: all topics whose whole name it matches, also those that are made later."""

    format: Literal["json", "avro", "protobuf", "csv", "text", "bytes"] = "json"
    """What a message's value is: a JSON object; Avro or Protobuf by the connection's `registry`; a CSV record without a header,
    whose columns the `schema` tells; or text or bytes, which make the column `value`."""

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """What stands between the fields of CSV."""

    start: Literal["earliest", "latest"] | datetime = "earliest"
    """Where the first run begins: with the oldest message there is, with what comes after it, or at a time."""

    missing: Literal["fail", "skip"] = "fail"
    """What to do when the cluster has deleted messages that were not read yet."""

    metadata: tuple[MetadataColumn, ...] = ()
    """What else of a message becomes columns: `key` as `_key`, `timestamp` as `_timestamp`, and so on."""

    key_format: Literal["text", "bytes"] = "text"
    """What the column `_key` is."""

    tombstones: Literal["keep", "reject"] = "keep"
    """A message without a value becomes a record whose columns are null, but for those of `metadata`; or it is rejected."""

    isolation: Literal["committed", "uncommitted"] = "committed"
    """Whether messages of transactions are read only once these are committed."""

    group: str = "beam-datahub"
    """The consumer group that the cluster sees."""

    commit_offsets: bool = False
    """Let the group's offsets follow what was read, for those who watch them; runs go on from their own positions."""

    max_record_bytes: ByteSize = Field(default=ByteSize(64 * 1024 * 1024), gt=0)
    """A longer value is rejected as malformed."""

    sample: int = Field(default=2_000, gt=0)
    """How many of the newest messages discovery looks at."""

    @model_validator(mode="after")
    def _one(self) -> KafkaReadOptions:
        if (self.topic is None) == (self.pattern is None):
            raise ValueError("needs a `topic` or a `pattern`, and not both")
        if self.topic is not None and not self.topics:
            raise ValueError("names no topic")
        if len(set(self.metadata)) < len(self.metadata):
            raise ValueError("names metadata twice")
        return self

    @field_validator("pattern")
    @classmethod
    def _is_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return value

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics by name; none where a pattern says."""
        return (self.topic,) if isinstance(self.topic, str) else self.topic or ()


class KafkaWriteOptions(Config):
    """Where records go, and how they become messages."""

    topic: str
    """The topic."""

    format: Literal["json", "avro", "text"] = "json"
    """What a message's value is: the record as a JSON object; as Avro by the connection's `registry`; or a single column."""

    headers: str | None = None
    """A column of the type MAP(VARCHAR, VARCHAR) that becomes the headers; it is not part of the value."""

    timestamp: str | None = None
    """A column of the type TIMESTAMP WITH TIME ZONE that becomes the message's time; when left out, the moment of sending."""

    tombstone: str | None = None
    """A BOOLEAN column: where it is true, the message has no value. It is not part of the value itself."""

    registry_subject: str | None = None
    """The registry's subject for `avro`; `<topic>-value` when left out."""

    partitions: int | None = Field(default=None, gt=0)
    """Make the topic with so many partitions where it is not there."""

    replication_factor: int = Field(default=-1, ge=-1)
    """How many brokers keep each partition of a topic that is made; the cluster's own default is -1."""

    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "lz4"
    """How messages are compressed on their way and in the topic."""

    partitioner: Literal["murmur2_random", "consistent_random", "fnv1a_random", "random"] = "murmur2_random"
    """How a key chooses its partition; `murmur2_random` is what Java's clients do."""

    max_message_bytes: ByteSize = Field(default=ByteSize(1_000_000), gt=0)
    """A record whose message would be larger is rejected."""

    transaction_timeout_seconds: int = Field(default=900, gt=0)
    """How long the transaction that sends all of a run may take; brokers allow 15 minutes unless told otherwise."""
