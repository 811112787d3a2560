"""What README.md and the guides show works: the marked blocks run, in their order, in a scratch folder for each page.

A block is marked by a comment in the line before it:

    <!-- runs -->              a console block: each line behind `$ ` must succeed, and the lines below it be in its output
    <!-- runs, exit 3 -->      the same, where the last command ends with exit code 3
    <!-- file orders.yaml -->  a block of any kind, which is written to that file
    <!-- spec -->              a YAML block that `beam-datahub validate` takes

A line of shown output with `…` in it stands for any text there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [file for file in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if file.is_file()]
_BLOCK = re.compile(
    r"^<!-- (?P<mark>runs(?:, exit \d+)?|file \S+|spec) -->\n+```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    mark: str
    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [Block(m["mark"], m["kind"], m["text"], text.count("\n", 0, m.start()) + 1) for m in _BLOCK.finditer(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_marked_blocks_of_a_page_work(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        place = f"{page.name}:{block.line}"
        if block.mark.startswith("file "):
            target = tmp_path / block.mark.removeprefix("file ")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, "utf-8")
        elif block.mark == "spec":
            (tmp_path / "shown.yaml").write_text(block.text, "utf-8")
            run("beam-datahub validate shown.yaml", tmp_path, 0, place)
        else:
            console(block, tmp_path, place)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_mark_stands_before_something_else(page: Path) -> None:
    marks = re.findall(r"^<!-- (?:runs|file |spec).*-->$", page.read_text("utf-8"), re.MULTILINE)
    assert len(marks) == len(blocks(page))


def console(block: Block, folder: Path, place: str) -> None:
    status = int(block.mark.removeprefix("runs").removeprefix(", exit ") or 0)
    calls = re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]
    assert calls, f"{place}: no line begins with `$ `"
    for number, call in enumerate(calls, start=1):
        command, _, shown = call.partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command = f"{command[:-1]} {more.removeprefix('>')}"
        found = run(command, folder, status if number == len(calls) else 0, place)
        for line in filter(str.strip, shown.splitlines()):
            pattern = ".*".join(r"\s+".join(map(re.escape, part.split())) for part in line.split("…"))
            assert re.search(pattern, found), f"{place}: `{command}` does not print\n{line}\nbut\n{found}"


def run(command: str, folder: Path, status: int, place: str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "160"}
    environment.pop("BEAM_DATAHUB_NO_RECORD", None)
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == status, f"{place}: `{command}` ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
