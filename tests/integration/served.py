"""One daemon, as people start it, with one image and one sandbox that runs, for every test of its routes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monocore_core.client.api import Api, target
from monocore_core.client.tables import text
from monocore_core.config.values import Settings
from monocore_core.engine import Engine
from monocore_core.model.oci import Platform
from monocore_core.testing.registry import LocalRegistry, registry_problem
from monocore_core.testing.samples import busybox_image
from tests.integration.commandline import ARGV, LINGER

#: Seconds for a daemon to be ready, and to end; far more than it needs.
LIMIT = 300.0


@pytest.fixture(scope="package")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    """A docker-registry on loopback."""
    if (problem := registry_problem()) is not None:
        pytest.skip(problem.reason)
    with LocalRegistry(tmp_path_factory.mktemp("registry")) as started:
        yield started


@pytest.fixture(scope="package")
def image(registry: LocalRegistry) -> str:
    """A small Linux in the registry, and in the daemon's store."""
    return registry.push(busybox_image(), "http/busybox")


@contextmanager
def serving(home: Path, *words: str) -> Generator[Path]:
    """The socket of a daemon that serves, with these words more; at its end nothing of any sandbox may be left."""
    home.mkdir(mode=0o700, exist_ok=True)
    reader, writer = os.pipe()
    with (
        (home / "daemon.log").open("wb") as log,
        subprocess.Popen(
            [*ARGV, "serve", "--home", str(home), *words],
            env={**os.environ, "MONOCORE_READY_FD": str(writer), **LINGER},
            pass_fds=(writer,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        os.close(writer)
        try:
            with os.fdopen(reader) as ready:
                said = ready.read()
            assert said.strip() == "ready", said + (home / "daemon.log").read_text()
            yield home / "monocore.sock"
            Api(str(home / "monocore.sock")).call("POST", target("shutdown"), {"stop": True})
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait(LIMIT)
    told = (home / "daemon.log").read_text()
    assert process.returncode == 0, told
    assert "Traceback" not in told, told


@pytest.fixture(scope="package")
def socket(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of the daemon that has the image."""
    home = tmp_path_factory.mktemp("http") / "home"

    async def pull() -> None:
        async with Engine.open(Settings(home)) as engine:
            await engine.pull(image, Platform.host())

    asyncio.run(pull())
    with serving(home) as path:
        yield path


@pytest.fixture(scope="package")
def api(socket: Path) -> Api:
    """Of that daemon."""
    return Api(str(socket))


@pytest.fixture(scope="package")
def sandbox(api: Api, image: str) -> Iterator[str]:
    """The name of a sandbox that runs, without a command of its own."""
    order = {"sandbox": {"image": image, "name": "shared", "foreground": False}, "command": None}
    made = api.call("POST", target("sandboxes"), order, timeout=LIMIT)
    assert text(made, "state") == "running"
    yield "shared"
    api.call("DELETE", target("sandboxes", "shared", force=True))
