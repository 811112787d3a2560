"""How long to wait before something is tried once more: ever longer, and never all at the same moment."""

from __future__ import annotations

import random
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

import beam_datahub
from beam_datahub.spec.durations import Seconds


class Backoff(BaseModel):
    """The pauses between attempts."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=beam_datahub.documents_options)

    initial_interval: Annotated[Seconds, Field(gt=0)] = 0.5
    """The pause before the second attempt."""
    max_interval: Annotated[Seconds, Field(gt=0)] = 10.0
    """The longest pause."""
    multiplier: float = Field(default=2.0, ge=1, le=10)
    """How many times as long each pause is as the one before."""
    jitter: float = Field(default=0.5, ge=0, le=1)
    """The share of each pause that is left to chance, so that many who wait do not come back at once."""

    def pause(self, attempt: int) -> float:
        """The seconds to wait behind attempt number `attempt`, of which the first is 1."""
        try:
            grown = self.initial_interval * self.multiplier ** (attempt - 1)
        except OverflowError:
            grown = self.max_interval
        return min(self.max_interval, grown) * random.uniform(1 - self.jitter, 1)
