"""``docs/services.md`` is of this version: its file is valid, and every word that a person may see is explained."""

import ast
import re
from pathlib import Path

import pytest

from monocore_core.model.health import RestartKind
from monocore_core.model.record import EndReason
from monocore_core.model.service import Condition
from monocore_core.orchestrator.events import ServiceEvent
from monocore_core.orchestrator.graph import waves
from monocore_core.orchestrator.status import ServiceState
from monocore_core.testing.projects import project_of

PAGE = (Path(__file__).parents[3] / "docs" / "services.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_its_application_is_valid_and_in_the_order_that_it_shows() -> None:
    (text,) = blocks("toml")
    assert waves(project_of(text).services) == (("db",), ("migrate",), ("web",))


def test_its_program_is_python() -> None:
    (text,) = blocks("python")
    names = {
        alias.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {"Orchestrator", "Sandboxes", "load_project"} <= names
    exec(
        compile(
            "\n".join(line for line in text.splitlines() if line.startswith(("import", "from"))),
            "page",
            "exec",
        )
    )


@pytest.mark.parametrize("word", [*ServiceState, *EndReason, *Condition, *RestartKind])
def test_every_word_is_explained(word: str) -> None:
    assert re.search(rf"`{re.escape(word)}[`\[]", PAGE), word


def test_every_event_is_named() -> None:
    kinds = re.findall(r"``((?:project|service)-[a-z]+)``", ServiceEvent.__doc__ or "")
    assert len(kinds) >= 16
    assert [kind for kind in kinds if f"`{kind}`" not in PAGE] == []
