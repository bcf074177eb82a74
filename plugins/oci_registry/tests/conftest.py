"""What the plugin's tests share: a real registry, and sources with short patience that are nobody."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from monocore_oci_registry import PROVIDER, RegistryOptions

from monocore_core.testing.registry import LocalRegistry
from monocore_core.testing.sources import SourceOpener

Opener = SourceOpener[RegistryOptions]


@pytest.fixture
def opener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Sources that find nobody's credentials and no proxy, and give up soon."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return SourceOpener(PROVIDER, tmp_path, RegistryOptions(deadline=10, idle_timeout=5, attempts=3))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    """The real one, for everybody."""
    with LocalRegistry(tmp_path_factory.mktemp("registry")) as running:
        yield running
