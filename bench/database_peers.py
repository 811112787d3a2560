"""Who loads and reads PostgreSQL beside beam-datahub, each in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contestants import BENCH, Peer

_SCRIPT = "with_databases.py"
_DLT = ("dlt[postgres,filesystem,parquet]==1.31.0", "sqlalchemy==2.0.51", "pyarrow==25.0.1", "psycopg2-binary==2.9.13")
_SLING = ("sling-linux-amd64==1.4.11",)
_INGESTR = ("ingestr==0.15.9",)
_ALCHEMY = ("sqlalchemy==2.0.51", "psycopg[binary]==3.3.9")


@dataclass(frozen=True)
class DatabasePeer:
    """A peer: how it loads a CSV file into a table (`load`), and writes a table into a file (`read`, which ends in `kind`)."""

    environment: Peer
    load: Callable[[Peer, str, Path, str], list[str]]
    """The command, of the environment, the server's URL, the file and the table."""
    read: Callable[[Peer, str, str, Path], list[str]] | None
    kind: str = "parquet"
    start: tuple[str, ...] = ()
    """What begins it without work, behind the environment's folder."""

    @property
    def name(self) -> str:
        """What it is called in the results."""
        return self.environment.title

    def starting(self) -> list[str]:
        """The command that only starts it."""
        if not self.start:
            return self.environment.start_up()
        return [str(self.environment.environment / self.start[0]), *self.start[1:]]


def _own(form: str) -> tuple[Callable[[Peer, str, Path, str], list[str]], Callable[[Peer, str, str, Path], list[str]]]:
    """The commands of a script of ours that uses a library."""

    def load(peer: Peer, url: str, given: Path, table: str) -> list[str]:
        return [peer.python, str(BENCH / "peers" / _SCRIPT), form, "load", url, str(given), table]

    def read(peer: Peer, url: str, table: str, out: Path) -> list[str]:
        return [peer.python, str(BENCH / "peers" / _SCRIPT), form, "read", url, table, str(out)]

    return load, read


_SLING_BINARY = "lib/python3.11/site-packages/sling_linux_amd64/bin/sling-linux-amd64"


def _sling_load(peer: Peer, url: str, given: Path, table: str) -> list[str]:
    target = ["--tgt-conn", f"{url}?sslmode=disable", "--tgt-object", f"public.{table}", "--mode", "full-refresh"]
    return [str(peer.environment / _SLING_BINARY), "run", "--src-stream", f"file://{given}", *target]


def _sling_read(peer: Peer, url: str, table: str, out: Path) -> list[str]:
    source = ["--src-conn", f"{url}?sslmode=disable", "--src-stream", f"public.{table}"]
    return [str(peer.environment / _SLING_BINARY), "run", *source, "--tgt-object", f"file://{out}"]


def _ingestr_load(peer: Peer, url: str, given: Path, table: str) -> list[str]:
    source = ["--source-uri", f"csv://{given}", "--source-table", "orders"]
    target = ["--dest-uri", url, "--dest-table", f"public.{table}"]
    return [str(peer.environment / "bin" / "ingestr"), "ingest", "--yes", "--progress", "log", *source, *target]


def _ingestr_read(peer: Peer, url: str, table: str, out: Path) -> list[str]:
    source = ["--source-uri", url, "--source-table", f"public.{table}", "--sql-backend", "pyarrow"]
    target = ["--dest-uri", f"csv://{out}", "--dest-table", "bench.orders"]
    return [str(peer.environment / "bin" / "ingestr"), "ingest", "--yes", "--progress", "log", *source, *target]


PEERS = [
    DatabasePeer(Peer("dlt_arrow", "dlt, Arrow tables", _SCRIPT, _DLT, "import dlt, pyarrow.csv"), *_own("dlt_arrow")),
    DatabasePeer(Peer("dlt_rows", "dlt, rows", _SCRIPT, _DLT, "import dlt, pyarrow.csv"), *_own("dlt_rows")),
    # Parquet it writes only through a program that it fetches when it needs it.
    DatabasePeer(
        Peer("sling", "Sling", _SCRIPT, _SLING, ""), _sling_load, _sling_read, kind="csv", start=(_SLING_BINARY, "--version")
    ),
    DatabasePeer(
        Peer("ingestr", "ingestr", _SCRIPT, _INGESTR, ""),
        _ingestr_load,
        _ingestr_read,
        kind="csv",
        start=("bin/ingestr", "--version"),
    ),
    DatabasePeer(
        Peer("sqlalchemy", "SQLAlchemy inserts", _SCRIPT, _ALCHEMY, "import sqlalchemy, psycopg"),
        _own("sqlalchemy")[0],
        None,
    ),
]


def install(peer: DatabasePeer) -> str | None:
    """Make a peer's environment; gives why that could not be done."""
    try:
        peer.environment.install()
    except subprocess.CalledProcessError as error:
        return f"{peer.name} could not be installed: {error}"
    return None


def silenced(folder: Path) -> dict[str, str]:
    """The environment of a peer's process: nobody sends anything anywhere, and what is kept is kept in the folder."""
    return {
        **os.environ,
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DISABLE_TELEMETRY": "true",
        "INGESTR_DISABLE_TELEMETRY": "true",
        "SLING_DISABLE_TELEMETRY": "TRUE",
        "SLING_HOME_DIR": str(folder / "sling"),
        "HOME": str(folder),
        "DLT_DATA_DIR": str(folder / "dlt"),
    }
