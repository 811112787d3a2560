"""What an attempt of a stream leaves in a folder that workers share: their job ends, also where its launcher died."""

from __future__ import annotations

import os
import time
from pathlib import Path

from beam_datahub.compiler.stream_control import Control, ControlFile
from beam_datahub.runtime.stream_places import AttemptPlace, end_left_behind


def died(shared: Path, name: str, seconds_ago: float = 0.0) -> ControlFile:
    """What the launcher of an attempt has left that was killed."""
    control = AttemptPlace(str(shared), "", name).control
    control.write(Control({}, at=time.time() - seconds_ago))
    return control


def test_a_job_that_may_go_on_is_told_to_end_and_of_one_that_is_over_nothing_stays(tmp_path: Path) -> None:
    with AttemptPlace(str(tmp_path), "", "run-1") as broken:
        broken.control.write(Control({}))
    assert broken.control.look().stopping
    with AttemptPlace(str(tmp_path), "", "run-2") as done:
        done.control.write(Control({}))
        done.is_over = True
    assert os.listdir(tmp_path) == ["run-1"]


def test_jobs_of_runs_that_died_are_told_to_end_and_no_others(tmp_path: Path) -> None:
    attempts = [died(tmp_path, name) for name in ("dead-1", "dead-2", "alive-1")]
    died(tmp_path, "dead-3", seconds_ago=3600)
    end_left_behind(str(tmp_path), ["dead", "gone"])
    assert [each.look().stopping for each in attempts] == [True, True, False]
    assert sorted(os.listdir(tmp_path)) == ["alive-1", "dead-1", "dead-2"]
