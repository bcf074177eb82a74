"""The example of ``examples/shop``, as its README says, from the outside: over the published port."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monocore_core.testing.registry import LocalRegistry
from monocore_core.testing.samples import busybox_image
from tests.integration.daemon.conftest import Home

pytestmark = [
    pytest.mark.integration,
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.needs("nft", "nftables"),
]
SHOP = Path(__file__).parents[3] / "examples/shop"
Until = Callable[[Callable[[], bool]], None]


@pytest.fixture
def shop(home: Home, local: LocalRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of its page, while it is up."""
    folder = tmp_path / "shop"
    shutil.copytree(SHOP, folder)
    monkeypatch.chdir(folder)
    # which port is free is the network's to choose, so that several copies of the tests can run at once
    file = folder / "monocore.toml"
    file.write_text(file.read_text().replace("127.0.0.1:${SHOP_PORT:-8080}:80", "127.0.0.1::80"))
    monkeypatch.setenv("SHOP_IMAGE", local.push(busybox_image(), "shop/base", "1"))
    monkeypatch.setenv("SHOP_TOKEN", "s3cret-of-the-shop")
    try:
        home.out("up")
        published = next(row for row in _rows(home) if row[0] == "web")
        port = next(word for word in published if "->80/tcp" in word).partition("->")[0]
        yield f"http://{port}"
    finally:
        home.out("down")
        home.out("remove")
        home.out("volume", "rm", "shop.rows")


def test_orders_go_from_the_page_over_the_database_to_the_worker(home: Home, shop: str, until: Until) -> None:
    assert b"Shop" in _get(f"{shop}/")
    assert _get(f"{shop}/cgi-bin/orders", b"text=two apples").strip() == b"1"
    until(lambda: _get(f"{shop}/cgi-bin/orders").strip() == b"1 filled TWO APPLES")
    states = {row[0]: row[2] for row in _rows(home)}
    assert states == {"db": "up", "web": "up", "worker": "up", "migrate": "completed"}
    assert "filled order 1" in home.out("logs", "--file", "monocore.toml", "worker")

    assert home.run("exec", "shop.worker", "sh", "-c", "kill -9 $(pidof work)").returncode in (0, 137)
    assert _get(f"{shop}/cgi-bin/orders", b"text=pears").strip() == b"2"
    until(lambda: b"2 filled PEARS" in _get(f"{shop}/cgi-bin/orders"))
    assert json.loads(home.out("inspect", "shop.worker"))[0]["runs"] == 2

    unchanged = home.out("ps", "-q")
    home.out("up")
    assert home.out("ps", "-q") == unchanged
    assert "s3cret-of-the-shop" not in home.out("inspect", "shop.db", "shop.web")
    assert not [path for path in _files(home.path) if b"s3cret-of-the-shop" in path.read_bytes()]

    home.out("down", "web", "worker")
    assert {row[0]: row[2] for row in _rows(home)}["db"] == "up"
    home.out("up")
    assert b"1 filled TWO APPLES" in _get(f"http://{_address(home)}/cgi-bin/orders")


def _address(home: Home) -> str:
    web = next(row for row in _rows(home) if row[0] == "web")
    return next(word for word in web if "->80/tcp" in word).partition("->")[0]


def _rows(home: Home) -> list[list[str]]:
    return [line.split() for line in home.out("status").splitlines()[1:]]


def _get(address: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(address, body, timeout=20) as answer:
        found: bytes = answer.read(65536)
    return found


def _files(home: Path) -> Iterator[Path]:
    """The state on disk: not what guests have, nor the layers."""
    for folder, _, names in os.walk(home):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink() and path.stat().st_size < 32 * 1024 * 1024:
                yield path
