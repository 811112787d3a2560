"""An integration whose logs are others than those that were read goes on from no position that is not theirs."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from beam_datahub.compiler.build import BuildOptions, build
from beam_datahub.compiler.plan import Plan, Read
from beam_datahub.errors import InvalidValue
from beam_datahub.runtime.increments import Span, bound
from beam_datahub.spec import loads
from beam_datahub.store.records import Cursor

SPEC = """\
name: orders
type: real-time
source:
  name: NAME
  connector: kafka
  connection: {bootstrap_servers: "127.0.0.1:1"}
  topic: orders
  schema: {id: bigint}
destination: {connector: jsonl, connection: {path: out/}, write_mode: append}
"""


def plan(name: str) -> Plan:
    return build(loads(SPEC.replace("NAME", name)), BuildOptions(outputs=False))


def store(*found: Cursor) -> Any:
    """A store that keeps just these cursors."""

    def find(integration: str) -> Sequence[Cursor]:
        return [each for each in found if each.integration == integration]

    return SimpleNamespace(reader=SimpleNamespace(cursors=SimpleNamespace(find=find)))


def cursor(source: str, unit: str = "offset") -> Cursor:
    return Cursor("orders", source, {"column": unit, "last": 7}, unit, partition="0", revision=1)


def test_a_log_under_its_old_name_is_read_on() -> None:
    read = bound(plan("old"), store(cursor("old")), Span()).nodes["old"].operator
    assert isinstance(read, Read)
    assert read.request.reached == {"0": 7}


def test_a_log_under_a_new_name_is_not_read_again_unasked() -> None:
    with pytest.raises(InvalidValue, match=r"'new' would be read from its beginning.* for 'old'") as refusal:
        bound(plan("new"), store(cursor("old")), Span())
    assert "beam-datahub state reset orders old" in str(refusal.value.hint)
    read = bound(plan("new"), store(cursor("old")), Span(whole=True)).nodes["new"].operator
    assert isinstance(read, Read)
    assert read.request.reached == {}


def test_a_log_beside_one_that_is_gone_is_its_own() -> None:
    assert "new" in bound(plan("new"), store(cursor("old"), cursor("new")), Span()).nodes
    assert "new" in bound(plan("new"), store(cursor("old", "LSN")), Span()).nodes


def test_positions_of_another_system_are_refused() -> None:
    with pytest.raises(InvalidValue, match="'old' was read by its LSN so far, and is read by its offset now"):
        bound(plan("old"), store(cursor("old", "LSN")), Span())
