"""What a spec may say of profiles."""

from __future__ import annotations

import pytest

from beam_datahub.errors import SpecError
from beam_datahub.spec import ProfileSpec, loads

SPEC = "name: x\nsource: {connector: inline, rows: [{a: 1}]}\ndestination: {connector: console}\nprofile: "


def profile(text: str) -> ProfileSpec | None:
    return loads(SPEC + text).integration.profile


def test_the_short_forms_mean_the_long_one() -> None:
    assert profile("false") is None
    assert profile("true") == profile("{}")
    assert profile("source") == profile("[source]") == profile("{steps: [source]}")
    found = profile("{columns: all, drift: {null_ratio: 10%}}")
    assert found is not None
    assert (found.columns, (found.drift or {})["null_ratio"]) == ("all", 0.1)
    off = profile("{drift: false}")
    assert off is not None
    assert off.drift is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[sorce]", "unknown source, step or destination 'sorce'"),
        ("{steps: sorce}", "unknown source, step or destination 'sorce'"),
        ("{drift: {null_rati: 1}}", "unknown option 'null_rati'"),
        ("{drift: {null_ratio: 7}}", "at most 1.0"),
        ("{drift: {runs: 1}}", "at least 2"),
    ],
)
def test_mistakes_are_placed(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        profile(text)
    assert caught.value.place is not None
    assert caught.value.place.line == 4


@pytest.mark.parametrize("kind", ["real-time", "hybrid"])
def test_a_stream_takes_no_profile(kind: str) -> None:
    with pytest.raises(SpecError, match="a stream has no end") as caught:
        profile(f"true\ntype: {kind}")
    assert caught.value.place is not None
    assert caught.value.place.path == ("profile",)
    assert profile(f"false\ntype: {kind}") is None
