"""README is true: each command parses with its own options, each link leads to a file."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import tyro

from scripts.__main__ import COMMANDS

CHECKOUT = Path(__file__).resolve().parent.parent
LAUNCHER = {"test", "lint"}  # answered by the launcher itself


def _command_lines(name: str) -> list[str]:
    text = (CHECKOUT / name).read_text()
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [line.split("#")[0].strip() for line in lines]


@pytest.mark.parametrize("line", [*_command_lines("README.md"), *_command_lines("CONTRIBUTING.md")])
def test_a_documented_command_parses(line: str) -> None:
    program, name, *arguments = shlex.split(line.removeprefix("nice "))

    if program == ".venv/bin/mutmut":  # a tool of the environment, run by hand
        assert name in ("run", "results", "show")
        return
    assert program == "./so101"
    if name not in LAUNCHER:
        assert name in COMMANDS
        module = importlib.import_module(f"scripts.{name}_command")
        tyro.cli(module.Args, args=arguments)


def test_the_readme_starts_with_two_commands() -> None:
    assert _command_lines("README.md")[:2] == ["./so101 demo", "./so101 test"]


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "docs/adr/README.md", "docs/measurements.md"]
)
def test_links_lead_to_files_of_the_checkout(name: str) -> None:
    page = CHECKOUT / name
    targets: list[str] = re.findall(r"\]\(([^)#]+)\)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_decision_is_in_the_list() -> None:
    pages = sorted(path.name for path in (CHECKOUT / "docs" / "adr").glob("0*.md"))
    listed = re.findall(r"\]\((0[^)]+)\)", (CHECKOUT / "docs" / "adr" / "README.md").read_text())

    assert listed == pages
