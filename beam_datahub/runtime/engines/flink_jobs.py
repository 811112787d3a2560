"""What goes on under a name on a Flink cluster: a run that has ended leaves nothing there."""

from __future__ import annotations

import json
import logging
import time
import urllib.request
from typing import Any

LOGGER = logging.getLogger("beam_datahub.engine")

_ANSWER_SECONDS = 10.0
_END_SECONDS = 60.0
_ASK_SECONDS = 0.2
_ENDED = ("FINISHED", "FAILED", "CANCELED", "SUSPENDED")


def end_jobs(master: str, name: str) -> None:
    """Cancel the jobs of this name that go on, and wait for their end, so that their slots are free.

    Beam's job server ends with the run, and leaves a job on the cluster that it was told to cancel. A cluster that does not
    answer is left as it is.
    """
    url = master if master.startswith("http") else f"http://{master}"
    until = time.monotonic() + _END_SECONDS
    told: set[str] = set()
    try:
        while going := [job["jid"] for job in _asked(f"{url}/jobs/overview")["jobs"] if _goes_on(job, name)]:
            if time.monotonic() > until:
                LOGGER.warning("the job %s does not end on %s", name, master)
                return
            for job in set(going) - told:
                LOGGER.info("the job %s is cancelled on %s", name, master)
                _asked(f"{url}/jobs/{job}?mode=cancel", method="PATCH")
                told.add(job)
            time.sleep(_ASK_SECONDS)
    except (OSError, ValueError, LookupError) as error:
        LOGGER.warning("whether the job %s has ended on %s is not known: %s", name, master, error)


def _goes_on(job: Any, name: str) -> bool:
    return bool(job["name"] == name and job["state"] not in _ENDED)


def _asked(url: str, method: str = "GET") -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=_ANSWER_SECONDS) as answer:
        return json.loads(answer.read() or b"{}")
