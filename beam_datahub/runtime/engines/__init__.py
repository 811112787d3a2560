"""The engines that a pipeline can run on: one file each, and profiles that a project gives names."""

from __future__ import annotations

from beam_datahub.errors import InvalidValue, UnknownName
from beam_datahub.runtime.engines.dataflow import Dataflow
from beam_datahub.runtime.engines.declaration import Engine, EngineOptions, Readiness, Start
from beam_datahub.runtime.engines.direct import Direct
from beam_datahub.runtime.engines.flink import Flink
from beam_datahub.runtime.engines.prism import Prism
from beam_datahub.runtime.engines.spark import Spark

__all__ = ["ENGINES", "Dataflow", "Engine", "EngineOptions", "Readiness", "Start", "engine", "named_engines"]

ENGINES: dict[str, Engine] = {each.name: each for each in (Direct(), Prism(), Flink(), Spark(), Dataflow())}


def engine(name: str) -> Engine:
    """The engine called `name`, or the one behind a profile of the project. Raises UnknownName."""
    if name in ENGINES:
        return ENGINES[name]
    found = named_engines()
    if name not in found:
        raise UnknownName("engine", name, [*ENGINES, *found])
    return found[name]


def named_engines() -> dict[str, Engine]:
    """The engines of the project's profiles, by the names that it gives them. Raises InvalidValue, UnknownName."""
    from beam_datahub.runtime.engines.profiles import profiles, profiles_file

    found = {}
    for name, profile in profiles().items():
        if name in ENGINES:
            raise InvalidValue(f"{profiles_file()}: '{name}' is an engine already", hint="give the profile another name")
        if profile.engine not in ENGINES:
            raise UnknownName("engine", profile.engine, ENGINES)
        chosen = ENGINES[profile.engine]
        if profile.master is not None and chosen.master_option is None:
            raise InvalidValue(f"{profiles_file()}: the engine '{profile.engine}' of '{name}' has no `master`")
        master = [f"{chosen.master_option}={profile.master}"] if profile.master is not None else []
        found[name] = chosen.with_preset([*master, *profile.options])
    return found
