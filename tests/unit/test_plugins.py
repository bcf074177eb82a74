"""Discovery survives every kind of broken plugin, and names it."""

import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path

import pytest

from monocore_core.errors import NotFound, PluginError
from monocore_core.interfaces.provider import Interface
from monocore_core.plugins import Plugins, discover

GOOD = """
from monocore_core.hookspecs import hookimpl
from monocore_core.interfaces.provider import NetworkCapabilities, NetworkProvider, NoOptions
from monocore_core.model.network import AttachmentKind

def create(host, options):
    raise AssertionError("discovery opens nothing")

@hookimpl
def monocore_networks():
    return [NetworkProvider(name="{name}", api={api}, summary="", rank=7, options=NoOptions, create=create,
                            capabilities=NetworkCapabilities(AttachmentKind.TAP))]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path in which tests install real distributions."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def install(site: Path, name: str, code: str) -> None:
    """A distribution ``dist-NAME`` with one module and one entry point."""
    (site / f"mod_{name}.py").write_text(code)
    info = site / f"dist_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[monocore]\n{name} = mod_{name}\n")


def found(site: Path) -> Plugins:
    points: list[EntryPoint] = []
    installed: list[Distribution] = list(distributions(path=[str(site)]))
    for distribution in installed:
        points += distribution.entry_points.select(group="monocore")
    return discover(points)


def reasons(plugins: Plugins) -> dict[str, str]:
    return {problem.plugin: problem.reason for problem in plugins.problems}


def test_the_core_alone_has_the_network_none(site: Path) -> None:
    plugins = found(site)
    assert [(backend.interface, backend.name) for backend in plugins.backends] == [
        (Interface.NETWORK, "none")
    ]
    assert plugins.problems == ()


def test_a_plugin_is_found_with_its_distribution(site: Path) -> None:
    install(site, "good", GOOD.format(name="good", api=1))
    backend = found(site).get(Interface.NETWORK, "good")
    assert (backend.distribution, backend.version, backend.provider.rank) == ("dist-good", "1.0", 7)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('boom')", "import failed: RuntimeError: boom"),
        ("import does_not_exist_anywhere", "import failed: ModuleNotFoundError"),
        ("this is no python", "import failed: SyntaxError"),
        (GOOD.format(name="bad", api=99), "was written for contract version 99; this core has version 1"),
        (GOOD.format(name="auto", api=1), "name 'auto' is not allowed"),
        (GOOD.format(name="Bad-Name", api=1), "name 'Bad-Name' is not allowed"),
        (
            GOOD.replace("monocore_networks", "monocore_network").format(name="bad", api=1),
            "implements the unknown hook",
        ),
        (
            GOOD.replace("return [", "raise ValueError('no') or [").format(name="bad", api=1),
            "monocore_networks() failed",
        ),
        (
            GOOD.replace("return [", "return [3] or [").format(name="bad", api=1),
            "gave a int, not a NetworkProvider",
        ),
        (
            GOOD.replace("return [", "return 3 or [").format(name="bad", api=1),
            "monocore_networks() failed: TypeError",
        ),
        (GOOD.replace("=NoOptions", "=int").format(name="bad", api=1), "is not an attrs class"),
        ("", "offers no backend"),
    ],
)
def test_a_broken_plugin_is_set_aside_and_the_rest_works(site: Path, code: str, reason: str) -> None:
    install(site, "bad", code)
    install(site, "good", GOOD.format(name="good", api=1))
    plugins = found(site)
    assert [backend.name for backend in plugins.of(Interface.NETWORK)] == ["good", "none"]
    (problem,) = plugins.problems
    assert reason in problem.reason
    assert problem.distribution == "dist-bad"
    assert problem.hint


def test_a_misspelt_hook_is_told_its_right_name(site: Path) -> None:
    install(site, "bad", GOOD.replace("monocore_networks", "monocore_netwroks").format(name="bad", api=1))
    assert found(site).problems[0].hint == "did you mean monocore_networks?"


def test_a_name_taken_twice_is_used_by_neither(site: Path) -> None:
    install(site, "one", GOOD.format(name="same", api=1))
    install(site, "two", GOOD.format(name="same", api=1))
    plugins = found(site)
    assert [backend.name for backend in plugins.of(Interface.NETWORK)] == ["none"]
    assert reasons(plugins) == {"same": "2 plugins offer a network of this name: dist-one, dist-two"}
    with pytest.raises(PluginError, match="network 'same' cannot be used: 2 plugins offer"):
        plugins.get(Interface.NETWORK, "same")


def test_an_unknown_name_lists_what_is_installed(site: Path) -> None:
    install(site, "good", GOOD.format(name="net_tap", api=1))
    with pytest.raises(NotFound) as caught:
        found(site).get(Interface.NETWORK, "net_tab")
    assert caught.value.brief == "network 'net_tab' is not installed (installed: net_tap, none)"
    assert caught.value.hint == "did you mean 'net_tap'?"


def test_the_installed_plugins_are_sound() -> None:
    assert discover().problems == ()
