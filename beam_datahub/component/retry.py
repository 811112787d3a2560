"""What is tried again when it fails for a reason that may pass, how often, and after what pauses."""

from __future__ import annotations

import time
from collections.abc import Callable

from pydantic import Field

from beam_datahub.component.config import Config
from beam_datahub.component.progress import PROGRESS
from beam_datahub.spec.backoff import Backoff

# How soon a run that is stopped stops waiting.
_LOOK_SECONDS = 0.1


class Attempts(Config):
    """How often something is tried."""

    attempts: int = Field(default=3, ge=1, le=100)
    """How often it is tried, the first time included."""

    backoff: Backoff = Backoff()
    """The pauses between the attempts: each longer than the one before, and a part of it left to chance."""

    def rounds(self, attempt: Callable[[int], bool]) -> int:
        """Call `attempt` with 1, 2, … until it leaves nothing to be tried again (False) or no attempts are left; gives how many
        there were. A run that is being stopped does not wait.
        """
        import tenacity

        def tried() -> bool:
            return attempt(retrying.statistics["attempt_number"])

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(bool),
            stop=tenacity.stop_after_attempt(self.attempts),
            wait=lambda state: self.backoff.pause(state.attempt_number),
            sleep=pause,
            retry_error_callback=lambda state: None,
        )
        retrying(tried)
        return int(retrying.statistics["attempt_number"])


class Retry(Attempts):
    """How records are tried again before they are rejected."""

    on: tuple[str, ...] = Field(default=("ConnectionError", "TimeoutError", "Transient"), min_length=1)
    """The exceptions that may pass, by the name of their class or of one that it is derived from, such as `TimeoutError` or
    `httpx.TransportError`; all others reject the record at once."""

    def may_pass(self, error: BaseException) -> bool:
        """Whether what raised `error` may succeed when it is tried again."""
        names = {name for kind in type(error).__mro__ for name in (kind.__name__, f"{kind.__module__}.{kind.__qualname__}")}
        return not names.isdisjoint(self.on)


def pause(seconds: float) -> None:
    """Wait, unless the run is being stopped."""
    until = time.monotonic() + seconds
    while not PROGRESS.stopping and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, _LOOK_SECONDS))
