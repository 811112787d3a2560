"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class Assignment(click.ParamType[tuple[str, str]]):
    """`NAME=VALUE`."""

    name = "NAME=VALUE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The name and the value. Fails without an equals sign."""
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"'{value}' is not NAME=VALUE", param, ctx)
        return name.strip(), text


class Size(click.ParamType[int]):
    """A number of bytes such as `4GiB`, `512MB` or `1000000`."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The bytes. Fails for a unit that is none."""
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?\s*", str(value), re.IGNORECASE)
        if found is None or float(found[1]) <= 0:
            self.fail(f"'{value}' is not a size such as 4GiB or 512MB", param, ctx)
        return int(float(found[1]) * _UNITS[(found[2] or "").lower()])


class Length(click.ParamType[float]):
    """A length of time such as `90s`, `5m` or `1 hour`, in seconds."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds. Fails for what is no length of time."""
        from beam_datahub.spec.durations import seconds_of

        try:
            return seconds_of(float(value) if str(value).replace(".", "", 1).isdecimal() else value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Listing(click.Group):
    """A group whose commands include one that lists or shows: what `default` names. It runs where no command is named."""

    default = "list"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command before options, or nothing at all."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def spec_argument(function: _Function) -> _Function:
    """The argument SPEC: an integration's file, or a folder that holds `integration.yaml`."""
    return click.argument("spec", type=click.Path())(function)


def set_option(function: _Function) -> _Function:
    """The option `--set NAME=VALUE`, any number of times."""
    return click.option(
        "--set", "parameters", type=Assignment(), multiple=True, help="Give a parameter of the spec its value. Repeatable."
    )(function)


def engine_option(function: _Function) -> _Function:
    """The option `--engine`; None where it is left out, see `specs.engine_of`."""
    return click.option(
        "--engine",
        show_default="direct; prism for what is real-time or hybrid",
        help="The engine; `beam-datahub engines` lists them.",
    )(function)


def store_option(function: _Function) -> _Function:
    """The option `--store`."""
    return click.option(
        "--store",
        metavar="PATH|URL",
        help="The store: a file or a postgresql:// URL. Without it BEAM_DATAHUB_STORE, or .beam-datahub/store.db of the project.",
    )(function)


def no_record_option(function: _Function) -> _Function:
    """The option `--no-record`."""
    return click.option("--no-record", is_flag=True, envvar="BEAM_DATAHUB_NO_RECORD", help="Leave the run out of the store.")(
        function
    )


def json_option(function: _Function) -> _Function:
    """The option `--json`, for a command that shows something."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output, and nothing else.")(function)
