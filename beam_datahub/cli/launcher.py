"""What a packaged integration is started by: its parameters as options of a pipeline, as Dataflow's launcher gives them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

_ENGINES = {
    "directrunner": "direct",
    "bundlebaseddirectrunner": "direct",
    "prismrunner": "prism",
    "flinkrunner": "flink",
    "sparkrunner": "spark",
    "dataflowrunner": "dataflow",
}


def launch(beside: str, arguments: Sequence[str] | None = None) -> None:
    """Run `integration.yaml` beside a file with `--NAME=VALUE` for its parameters and Beam's options; ends the process.

    `--runner` names the engine, the direct one where it is left out. A job for Dataflow is sent, and goes on by itself.
    """
    from beam_datahub.cli.commands import main
    from beam_datahub.spec.tree import read_text, read_tree

    folder = Path(beside).resolve().parent
    spec = folder / "integration.yaml"
    sys.path.insert(0, str(folder))
    tree = read_tree(read_text(spec), str(spec)).value
    declared = tree.get("parameters") if isinstance(tree, dict) else None
    parameters, options = parted(sys.argv[1:] if arguments is None else arguments, set(declared or ()))
    runner = next((option.partition("=")[2] for option in reversed(options) if option.startswith("--runner=")), "DirectRunner")
    engine = _ENGINES.get(runner.lower())
    if engine is None:
        sys.exit(f"the runner '{runner}' is none of DirectRunner, PrismRunner, FlinkRunner, SparkRunner, DataflowRunner")
    given = [part for name, value in parameters for part in ("--set", f"{name}={value}")]
    beams = [part for option in options if not option.startswith("--runner=") for part in ("--engine-option", option)]
    command = ["run", str(spec), "--engine", engine, *given, *beams]
    if engine == "dataflow":
        command = ["build", "submit", str(spec), "--engine", engine, *given, *beams]
    elif "BEAM_DATAHUB_STORE" not in os.environ:
        # What a container records goes with it.
        command.append("--no-record")
    main(command, prog_name="beam-datahub")


def parted(arguments: Sequence[str], declared: set[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The values of the declared parameters, and all other options, each as one word `--name=value`."""
    parameters: list[tuple[str, str]] = []
    options: list[str] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not equals and waiting and not waiting[0].startswith("--"):
            value, equals = waiting.pop(0), "="
        if name in declared:
            parameters.append((name, value))
        else:
            options.append(f"--{name}={value}" if equals else f"--{name}")
    return parameters, options
