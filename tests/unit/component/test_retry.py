"""How long what failed waits, how often it is tried, and which exceptions may pass."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from beam_datahub.component.retry import Attempts, Retry
from beam_datahub.spec.backoff import Backoff

AT_ONCE = Backoff(initial_interval=0.0001, max_interval=0.0001)


class ServiceBusy(TimeoutError):
    """What a user's own client raises."""


def test_pauses_double_up_to_the_longest_one() -> None:
    backoff = Backoff.model_validate({"initial_interval": "100 ms", "max_interval": "1 s", "jitter": 0})
    assert [backoff.pause(n) for n in (1, 2, 3, 4, 5, 4000)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_half_of_a_pause_is_left_to_chance() -> None:
    pauses = {Backoff(initial_interval=1.0).pause(1) for _ in range(50)}
    assert len(pauses) > 1
    assert all(0.5 <= each <= 1.0 for each in pauses)


def test_it_is_tried_until_nothing_is_left_and_at_most_as_often_as_allowed() -> None:
    tried: list[int] = []

    def attempt(number: int) -> bool:
        tried.append(number)
        return number < 2

    assert Attempts(attempts=4, backoff=AT_ONCE).rounds(attempt) == 2
    assert Attempts(attempts=3, backoff=AT_ONCE).rounds(lambda number: True) == 3
    assert tried == [1, 2]


@pytest.mark.parametrize(
    ("error", "on", "may"),
    [
        (ServiceBusy(), None, True),
        (ConnectionResetError(), None, True),
        (ValueError(), None, False),
        (ServiceBusy(), ("ServiceBusy",), True),
        (ServiceBusy(), (f"{__name__}.ServiceBusy",), True),
        (TimeoutError(), ("ServiceBusy",), False),
    ],
)
def test_an_exception_may_pass_by_its_name_or_that_of_what_it_is_derived_from(
    error: Exception, on: tuple[str, ...] | None, may: bool
) -> None:
    policy = Retry() if on is None else Retry(on=on)
    assert policy.may_pass(error) is may


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"on": []}, {"backoff": {"jitter": 2}}, {"backoff": {"initial_interval": 0}}])
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Retry.model_validate(wrong)
