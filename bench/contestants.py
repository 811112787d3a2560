"""Who is measured: beam-datahub and its peers, each a process of its own in an environment of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cases import Case

BENCH = Path(__file__).resolve().parent
OURS = "beam-datahub"
# Row-wise peers take minutes where the others take seconds: they run one case, on this many rows at most.
FEW_ROWS = 500_000


@dataclass(frozen=True)
class Peer:
    """A competitor: the script that runs it, what it is installed from, and an import of what it needs to begin."""

    name: str
    title: str
    script: str
    requirements: tuple[str, ...]
    imports: str
    arguments: tuple[str, ...] = ()
    row_wise: bool = False

    @property
    def environment(self) -> Path:
        return BENCH / f".venv-{hashlib.sha256(repr(self.requirements).encode()).hexdigest()[:8]}"

    @property
    def python(self) -> str:
        return str(self.environment / "bin" / "python")

    def runs(self, case: Case) -> bool:
        """Whether the peer takes part in a case."""
        if self.name == "polars":
            # It cuts off a field too many and keeps the row, with no way to tell.
            return case.name != "defective"
        return self.name == "duckdb" or case.name == "csv_parquet"

    def install(self) -> None:
        """Make the peer's environment, once."""
        stamp = self.environment / "installed"
        if stamp.exists():
            return
        print(f"installing {self.title} …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", self.environment], check=True)
        subprocess.run(
            [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self.requirements], check=True
        )
        stamp.touch()

    def versions(self) -> dict[str, str]:
        command = [self.python, str(BENCH / "peers" / self.script), "--versions"]
        found: dict[str, str] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return found

    def command(self, case: Case, data: Path, target: Path) -> list[str]:
        script = str(BENCH / "peers" / self.script)
        return [self.python, script, *self.arguments, case.query, str(data), ",".join(case.inputs), case.output, str(target)]

    def start_up(self) -> list[str]:
        """A process that does nothing but import what the peer needs."""
        return [self.python, "-c", self.imports]


_DLT = ("dlt[parquet,filesystem]==1.31.0", "pyarrow==25.0.1")
_BEAM = ("apache-beam[yaml,dataframe]==2.77.0", "pyarrow==25.0.1")
_BEAM_IMPORTS = "import apache_beam, pyarrow"

PEERS = [
    Peer("duckdb", "DuckDB", "with_duckdb.py", ("duckdb==2.0.0",), "import duckdb; duckdb.sql('select 1').fetchall()"),
    Peer("polars", "Polars, lazy and streaming", "with_polars.py", ("polars==2.1.0",), "import polars"),
    Peer("dlt_arrow", "dlt, Arrow tables", "with_dlt.py", _DLT, "import dlt, pyarrow.csv", ("arrow",)),
    Peer("dlt_rows", "dlt, rows", "with_dlt.py", _DLT, "import dlt, pyarrow.csv", ("rows",), row_wise=True),
    Peer("beam_yaml", "Beam YAML", "with_beam_yaml.py", _BEAM, f"{_BEAM_IMPORTS}; import apache_beam.yaml.main", row_wise=True),
    Peer("beam_rows", "Beam, row dicts", "with_beam_rows.py", _BEAM, _BEAM_IMPORTS, row_wise=True),
]


def our_command(case: Case, data: Path, target: Path) -> list[str]:
    """The command line that runs a case here."""
    program = os.path.join(os.path.dirname(sys.executable), OURS)
    settings = {"input": str(data / case.inputs[0]), "output": str(target)}
    if len(case.inputs) > 1:
        settings["other"] = str(data / case.inputs[1])
    if case.spec == "filter_map":
        settings["connector"] = case.inputs[0].rpartition(".")[2]
        settings["format"] = case.output
    pairs = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [program, "run", str(BENCH / "specs" / f"{case.spec}.yaml"), *pairs, "--json"]
