"""How a lookup may ask its source for just the records that a batch needs, and what it remembers of the answers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field, model_validator

from beam_datahub.component.config import Config
from beam_datahub.security import Secret


class LookupCache(Config):
    """What a lookup by batch remembers of earlier answers, also that there was none."""

    rows: int = Field(default=100_000, ge=0)
    """How many keys and rows each worker keeps in memory; those that were not asked for the longest go first. 0 keeps none."""

    ttl_seconds: float | None = Field(default=300, gt=0)
    """For how long an answer holds; null is for as long as the worker lives (in Redis: for ever)."""

    redis: Secret | str | None = None
    """The URL of a Redis server in which all workers and runs share their answers: `redis://cache.example.com:6379/0`. What is
    looked up stands there in clear."""

    @model_validator(mode="after")
    def _closed(self) -> LookupCache:
        if isinstance(self.redis, str) and re.search(r"://[^/@]*:[^/@]+@", self.redis):
            raise ValueError("has a password in clear: give the URL as `redis: ${secret.NAME}`")
        return self


@dataclass(frozen=True)
class Asking:
    """How a join may ask the source on its right side. `mode`: "batch" asks for the keys of each batch, "whole" holds all of it
    as any join does, "auto" leaves it to the plan.
    """

    mode: Literal["auto", "batch", "whole"] = "auto"
    cache: LookupCache = field(default_factory=LookupCache)
    requests_per_second: float | None = None
    timeout_seconds: float | None = None
