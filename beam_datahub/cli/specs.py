"""From what the user names on the command line to a loaded spec and its plan."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from beam_datahub.errors import DataHubError, UnreadableSpec

if TYPE_CHECKING:
    from beam_datahub.compiler.build import BuildOptions
    from beam_datahub.compiler.plan import Plan
    from beam_datahub.spec import SpecDocument
    from beam_datahub.store.location import Location

# The file that stands for its folder.
INTEGRATION_FILES = ("integration.yaml", "integration.yml", "integration.json")
# How much of a file one worker reads at a time where an engine has several.
_SPLIT_BYTES = 32 * 1024 * 1024


def spec_file(named: str) -> str:
    """The file that `named` means: itself, or the integration in a folder. Raises UnreadableSpec."""
    if not os.path.isdir(named):
        return named
    for name in INTEGRATION_FILES:
        if os.path.isfile(os.path.join(named, name)):
            return os.path.join(named, name)
    raise UnreadableSpec(f"the folder '{named}' holds no {INTEGRATION_FILES[0]}", hint="name the spec's file")


def opened(named: str, parameters: Iterable[tuple[str, str]] = ()) -> SpecDocument:
    """The spec that `named` means, with the values of `--set`."""
    from beam_datahub.spec import load

    return with_connections(load(spec_file(named), parameters=dict(parameters)))


def with_connections(document: SpecDocument, location: Location | None = None) -> SpecDocument:
    """`document`, whose connections and subjects are looked up in the store (the usual one, unless told)."""
    from beam_datahub.runtime.connections import ConnectionLookup
    from beam_datahub.runtime.subjects import SubjectLookup

    document.connections = ConnectionLookup(location)
    document.schemas = SubjectLookup(location)
    return document


def planned(document: SpecDocument, *, engine: str | None = None, threads: int | None = None, **changes: object) -> Plan:
    """The plan of a spec for an engine, its warnings told. `changes` are BuildOptions."""
    from dataclasses import replace

    from beam_datahub.compiler.build import build
    from beam_datahub.runtime.engines import engine as find_engine

    engine = engine_of(document, engine)
    find_engine(engine).check(document)
    try:
        plan = build(document, replace(build_options(engine, threads), **changes))  # type: ignore[arg-type]
    except DataHubError as error:
        # What is doubtful is often the cause.
        _warn(error.warnings)
        raise
    _warn(plan.warnings)
    return plan


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        click.secho(f"warning: {warning}", fg="yellow", err=True)


def engine_of(document: SpecDocument, given: str | None) -> str:
    """The engine that was given, else the local one that runs integrations of this type."""
    return given or ("direct" if document.integration.type == "batch" else "prism")


def build_options(name: str, threads: int | None = None) -> BuildOptions:
    """How a plan is built for an engine: one worker that uses all cores, or splits for many that use one each."""
    from beam_datahub.compiler.build import BuildOptions
    from beam_datahub.runtime.engines import engine

    if engine(name).in_process:
        return BuildOptions(threads=threads or os.cpu_count() or 1)
    return BuildOptions(threads=threads or 1, split_bytes=_SPLIT_BYTES)


def dead_letter_folder(document: SpecDocument) -> str:
    """Where the rejected records of a spec without `dead_letter` go: beside the caller, under the integration's name."""
    return str(Path.cwd() / ".beam-datahub" / "dead-letter" / _file_name(document.integration.name))


def _file_name(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_." else "-" for sign in name).strip(".") or "integration"
