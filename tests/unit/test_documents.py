"""What the documents say is there: files that they link to, targets and flags that they name, code that parses."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomli

from monocore_core.interfaces.provider import Interface
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


def test_the_reference_of_the_interfaces_is_what_their_docstrings_say() -> None:
    written = {path.name: path.read_text() for path in interface_reference.FOLDER.iterdir()}
    assert written == interface_reference.texts(), "run: make reference"


@pytest.mark.parametrize("interface", list(Interface))
def test_every_method_of_an_interface_is_in_its_reference(interface: Interface) -> None:
    page = (interface_reference.FOLDER / f"{interface.value.replace('_', '-')}.md").read_text()
    module = importlib.import_module(f"monocore_core.interfaces.{interface.value}")
    protocols = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and one.__module__ == module.__name__ and getattr(one, "_is_protocol", False)
    ]
    assert protocols
    for protocol in protocols:
        for name in vars(protocol):
            assert name.startswith("_") or f"### `{protocol.__name__}.{name}`" in page, name


def test_the_reference_has_what_a_docstring_has() -> None:
    shown = interface_reference.prose("""Do ``it`` with a :class:`~a.b.Thing`.

        Example::

            first()

            second()

        Then rest.

        Raises:
            NotFound, Conflict: of the
                thing.
        """)
    example = "Example:\n\n```python\nfirst()\n\nsecond()\n```"
    assert (
        shown
        == f"Do `it` with a `Thing`.\n\n{example}\n\nThen rest.\n\nRaises:\n\n- `NotFound`, `Conflict`: of the thing."
    )


def test_every_target_is_in_the_help() -> None:
    made = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True)
    for target in re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE):
        assert f"make {target} " in made.stdout, target
