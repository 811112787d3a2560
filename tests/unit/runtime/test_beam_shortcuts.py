"""What Beam looks up once for a pipeline is what it would have found each time."""

from __future__ import annotations

import pickle

import apache_beam as beam
from apache_beam.options.pipeline_options import GoogleCloudOptions, StandardOptions, TypeOptions
from apache_beam.transforms import core

from beam_datahub.runtime.beam_shortcuts import RememberedOptions, remember_arguments


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
