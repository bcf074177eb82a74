"""What the documents say is there: files that they link to, targets and flags that they name, code that parses."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomli

from scripts import cli_reference, combinations_reference, interface_reference, options_reference

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")])

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(document: Path, language: str) -> list[str]:
    found: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL
    )
    return found


def prose(document: Path) -> str:
    """The text without code blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", prose(document)):
        if not target.startswith(("https://", "http://")):
            assert (document.parent / target).exists(), target


@each_document
def test_code_is_well_formed(document: Path) -> None:
    for block in blocks(document, "python"):
        ast.parse(block)
    for block in blocks(document, "toml"):
        tomli.loads(block)


@each_document
def test_no_placeholder_is_left(document: Path) -> None:
    assert not re.search(r"<!--|TODO|TBD|FIXME|lorem", document.read_text())


@each_document
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:^|`)make ([a-z]+)", document.read_text(), re.MULTILINE):
        assert target in targets, target


def test_the_readme_begins_with_the_two_commands() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:40]
    assert any(line.startswith("make demo") for line in first_screen)
    assert any(line.startswith("make test") for line in first_screen)


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="argparse lays help out otherwise in other Pythons"
)
def test_the_command_reference_is_what_the_commands_say() -> None:
    assert cli_reference.TARGET.read_text() == cli_reference.text(), "run: make reference"


def test_the_options_are_what_the_backends_take() -> None:
    assert options_reference.TARGET.read_text() == options_reference.text(), "run: make reference"


def test_the_combinations_are_what_the_backends_promise() -> None:
    assert combinations_reference.TARGET.read_text() == combinations_reference.text(), "run: make reference"


def test_the_pages_of_the_interfaces_are_their_docstrings() -> None:
    for path, text in interface_reference.pages().items():
        assert path.read_text() == text, "run: make reference"


def test_every_target_is_in_the_help() -> None:
    made = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True)
    for target in re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE):
        assert f"make {target} " in made.stdout, target
