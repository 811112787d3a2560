"""What an engine declares: how it is reached, what it needs, and what it cannot do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from beam_datahub.errors import InvalidValue

if TYPE_CHECKING:
    from beam_datahub.spec import SpecDocument

STREAMING_TYPES = ("real-time", "hybrid")


@dataclass(frozen=True)
class EngineOptions:
    """What a user may set for an engine. `memory_bytes`: what shuffles on the direct engine may hold in
    memory, half of it for rows on their way and half for the kernels; beyond that they spill to `spill_dir`.
    `options` are Beam's own, such as `--parallelism=4`.
    """

    threads: int | None = None
    memory_bytes: int = 4 * 1024**3
    spill_dir: str | None = None
    shards: int | None = None
    options: tuple[str, ...] = ()

    def given(self, name: str) -> str | None:
        """The last value of one of Beam's options, written `--name=value` or `--name value`; None where it is not set."""
        found = None
        for place, argument in enumerate(self.options):
            if argument.startswith(f"--{name}="):
                found = argument.partition("=")[2]
            elif argument == f"--{name}" and place + 1 < len(self.options):
                found = self.options[place + 1]
        return found


@dataclass(frozen=True)
class Start:
    """Where an engine that is started for a run keeps its files and its log, who hears what takes long, and under which name
    its job is found.
    """

    folder: str
    log_folder: str
    tell: Callable[[str], None] = lambda text: None
    job_name: str | None = None


@dataclass(frozen=True)
class Readiness:
    """Whether an engine can run here: `found` says what there is, `hint` what to do; without `ready` something lacks."""

    ready: bool
    found: str
    hint: str | None = None


class Engine(ABC):
    """An engine. `shards`: into how many parts it splits a shuffle unless told otherwise, and `stream_shards` that of a stream;
    `in_process`: its workers share the launcher's memory; `streams`: it runs pipelines that have no end, with Beam's
    `stream_options`; `master_option`: Beam's option that names its cluster. `preset` are options that a profile of the user's
    gives, before those of a run.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    shards: ClassVar[int] = 8
    stream_shards: ClassVar[int] = 8
    in_process: ClassVar[bool] = False
    streams: ClassVar[bool] = False
    stream_options: ClassVar[tuple[str, ...]] = ()
    master_option: ClassVar[str | None] = None
    cannot: ClassVar[tuple[str, ...]] = ()

    def __init__(self, preset: Sequence[str] = ()) -> None:
        self.preset = tuple(preset)

    def with_preset(self, preset: Sequence[str]) -> Self:
        """This engine with options of a profile."""
        return type(self)((*self.preset, *preset))

    def completed(self, options: EngineOptions) -> EngineOptions:
        """The options of a run behind those of the profile: the last of several values counts."""
        return replace(options, options=(*self.preset, *options.options))

    @abstractmethod
    def readiness(self) -> Readiness:
        """What is here of what it needs; looks only, and fetches nothing."""

    @abstractmethod
    @contextmanager
    def started(self, options: EngineOptions, start: Start) -> Iterator[Any]:
        """An empty Beam pipeline whose engine is there until the block is left.

        Raises MissingDependency for what is not installed, EngineFailed where the engine does not come up or is lost.
        """

    def check(self, document: SpecDocument) -> None:
        """Raise InvalidValue for an integration that this engine cannot run."""
        kind = document.integration.type
        if kind in STREAMING_TYPES and not self.streams:
            raise InvalidValue(
                f"the engine '{self.name}' cannot run integrations of type '{kind}': it ends its pipelines",
                hint="choose one that can: --engine prism or --engine flink",
                place=document.place("type"),
            )
        # A stream acknowledges where it reads.
        for source in () if self.in_process or kind in STREAMING_TYPES else document.integration.sources.values():
            if _is_bound_to_connection(source.connector):
                raise InvalidValue(
                    f"the engine '{self.name}' cannot read from '{source.connector}', whose messages are acknowledged over the "
                    "connection that has received them: its workers are other processes than the one that publishes",
                    hint="run it with --engine direct",
                    place=document.place(*source.at, "connector"),
                )


def _is_bound_to_connection(connector: str) -> bool:
    from beam_datahub.component.capabilities import Acknowledging
    from beam_datahub.component.registry import component, is_known

    kind: Any = component("source", connector) if is_known("source", connector) else None
    return kind is not None and kind.capabilities.acknowledges is Acknowledging.CONNECTION


def pipeline(runner: str, arguments: Sequence[str]) -> Any:
    """A Beam pipeline; the last of several values of an option counts."""
    import apache_beam as beam

    from beam_datahub.runtime.beam_shortcuts import RememberedOptions, remember_arguments, remember_states

    remember_arguments()
    remember_states()
    return beam.Pipeline(runner=runner, options=RememberedOptions(list(arguments)))
