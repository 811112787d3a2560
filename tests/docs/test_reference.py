"""The reference is fresh, and everything that a user can name is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from beam_datahub.cli.commands import COMMANDS, EXIT_CODES
from beam_datahub.cli.reference import pages
from beam_datahub.component.registry import component, names

ROOT = Path(__file__).resolve().parents[2]
PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    file = ROOT / "docs" / "reference" / name
    assert file.is_file(), "run `beam-datahub docs`"
    assert file.read_text("utf-8") == PAGES[name], "run `beam-datahub docs`"


def test_there_is_no_page_that_nobody_writes() -> None:
    assert {file.name for file in (ROOT / "docs" / "reference").glob("*.md")} == set(PAGES)


def test_every_command_is_documented() -> None:
    for name in COMMANDS:
        assert f"\n## {name}\n" in PAGES["cli.md"]


@pytest.mark.parametrize(
    ("kind", "page"), [("source", "connectors.md"), ("sink", "connectors.md"), ("transform", "transforms.md")]
)
def test_every_component_is_documented_with_all_of_its_options(kind: str, page: str) -> None:
    for name in names(kind):  # type: ignore[arg-type]
        assert f"\n## {name}\n" in PAGES[page]
        found = component(kind, name)  # type: ignore[arg-type]
        models = [getattr(found, each) for each in ("Config", "Connection", "Options") if hasattr(found, each)]
        for field_name, field in ((n, f) for model in models for n, f in model.model_fields.items()):
            assert f"| `{field.alias or field_name}` |" in PAGES[page], f"{name}.{field_name}"
            assert field.description, f"{name}.{field_name} has no docstring"
        assert found.__doc__
        assert getattr(found, "examples"), f"{name} has no example"  # noqa: B009


def test_every_exit_code_is_documented() -> None:
    for code in EXIT_CODES:
        assert f"| {code} |" in PAGES["cli.md"]


def test_pages_name_no_place_of_this_machine() -> None:
    for name, text in PAGES.items():
        assert str(ROOT) not in text, name
        assert str(Path.home()) not in text, name
