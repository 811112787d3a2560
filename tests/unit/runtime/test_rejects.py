"""The dead letter of a run, read back."""

from __future__ import annotations

import pytest

from beam_datahub.errors import NotReplayable
from beam_datahub.runtime.rejects import read_dead_letter


@pytest.mark.parametrize("connector", ["kafka", "console"])
def test_a_dead_letter_that_went_where_nothing_comes_back_from_is_told_so(connector: str) -> None:
    place = {"connector": connector, "type": connector, "connection": {"bootstrap_servers": "kafka:9092"}, "options": {}}
    with pytest.raises(NotReplayable, match=f"'{connector}', which cannot be read back"):
        read_dead_letter("run1", place, ["orders-dead"])
