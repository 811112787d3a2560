"""What Beam looks up once for a pipeline is what it would have found each time."""

from __future__ import annotations

import pickle

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, StandardOptions, TypeOptions
from apache_beam.transforms import core, userstate
from apache_beam.transforms.userstate import CombiningValueStateSpec, TimerSpec, on_timer

from beam_datahub.runtime.beam_shortcuts import RememberedOptions, remember_arguments, remember_states


class Plain(beam.DoFn):
    def process(self, element: int, factor: int = 2):
        yield element * factor


class Other(Plain):
    def process(self, element: int, power: int = 3):
        yield element**power


def test_views_of_options_share_their_values() -> None:
    options = RememberedOptions(["--project=shop", "--streaming"])
    options.view_as(GoogleCloudOptions).project = "other"
    assert options.view_as(GoogleCloudOptions).project == "other"
    assert options.view_as(TypeOptions).view_as(GoogleCloudOptions).project == "other"
    assert options.view_as(StandardOptions).streaming
    assert RememberedOptions(["--project=shop"]).view_as(GoogleCloudOptions).project == "shop"


def test_options_travel_to_workers_with_what_was_set_in_a_view() -> None:
    options = RememberedOptions(["--project=shop"])
    options.view_as(GoogleCloudOptions).project = "other"
    assert pickle.loads(pickle.dumps(options)).view_as(GoogleCloudOptions).project == "other"


def test_the_arguments_of_a_method_are_those_of_its_own_class_and_nobody_can_change_them() -> None:
    remember_arguments()
    for _ in range(2):
        names, defaults = core.get_function_arguments(Plain(), "process")
        assert (names, defaults) == (["element", "factor"], [2])
        names.clear()
        defaults.clear()
        assert core.get_function_arguments(Other(), "process") == (["element", "power"], [3])
        assert core.get_function_args_defaults(lambda a, b=1: a) == (["a", "b"], [1])


class Counting(beam.DoFn):
    COUNT = CombiningValueStateSpec("count", sum)
    END = TimerSpec("end", beam.TimeDomain.WATERMARK)
    OF_COUNT, OF_END = beam.DoFn.StateParam(COUNT), beam.DoFn.TimerParam(END)

    def process(self, element: int, count=OF_COUNT, end=OF_END):
        count.add(1)

    @on_timer(END)
    def ended(self, count=OF_COUNT):
        yield count.read()


def test_state_and_timers_are_those_of_the_class_of_a_step_and_nobody_can_change_them() -> None:
    remember_states()
    for _ in range(2):
        states, timers = userstate.get_dofn_specs(Counting())
        assert (states, timers) == ({Counting.COUNT}, {Counting.END})
        states.clear()
        timers.clear()
        assert not userstate.is_stateful_dofn(Plain())


def test_a_method_that_a_step_was_given_alone_is_looked_at_too() -> None:
    remember_states()
    given = Plain()
    given.more = Counting().process
    assert not userstate.is_stateful_dofn(Plain())
    assert userstate.is_stateful_dofn(given)
