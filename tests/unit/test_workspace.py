"""The workspace holds together: every distribution says the same of what it shares with the others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest
import tomli

from monocore_core.hookspecs import ENTRY_POINT_GROUP

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
#: Distributions that are programs of their own, and offer nothing to the core.
PROGRAMS = {"mcp_server"}


def project(folder: Path) -> Mapping[str, object]:
    return cast("Mapping[str, object]", tomli.loads((folder / "pyproject.toml").read_text())["project"])


def test_there_are_plugins() -> None:
    assert len(PLUGINS) >= 3


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_a_plugin_follows_the_conventions(folder: Path) -> None:
    core, plugin = project(ROOT), project(folder)
    assert plugin["name"] == f"monocore-{folder.name.replace('_', '-')}"
    for shared in ("version", "license", "requires-python"):
        assert plugin[shared] == core[shared], shared
    module = f"monocore_{folder.name}"
    offered = cast("Mapping[str, object]", plugin.get("entry-points", {})).get(ENTRY_POINT_GROUP)
    assert offered == (None if folder.name in PROGRAMS else {folder.name: module})
    assert (folder / "src" / module / "py.typed").is_file()
    assert (folder / "README.md").read_text().startswith(f"# {plugin['name']}\n")


@pytest.mark.parametrize("folder", [ROOT, *PLUGINS], ids=lambda folder: folder.name)
def test_every_direct_dependency_is_pinned(folder: Path) -> None:
    lock = (ROOT / "requirements-dev.txt").read_text()
    pinned = {name.lower().replace("_", "-") for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE)}
    for requirement in cast("list[str]", project(folder)["dependencies"]):
        found = re.match(r"[\w.-]+", requirement)
        assert found is not None, requirement
        name = re.sub(r"[._]", "-", found.group().lower())
        assert name in pinned or name == "monocore-core", f"run scripts/lock: {requirement}"


def test_the_import_contracts_cover_every_plugin() -> None:
    settings = tomli.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(settings["root_packages"]) == {
        "monocore_core",
        *(f"monocore_{folder.name}" for folder in PLUGINS),
    }
