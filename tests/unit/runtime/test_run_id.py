"""The ids of runs sort as the runs began."""

from __future__ import annotations

from beam_datahub.runtime.run_id import new_run_id


def test_runs_of_one_second_sort_as_they_began() -> None:
    ids = []
    for _ in range(200):
        ids.append(new_run_id())
        # The ids tell moments of 15 microseconds apart.
        while new_run_id()[:20] == ids[-1][:20]:
            pass
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
