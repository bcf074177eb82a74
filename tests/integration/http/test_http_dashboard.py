"""The page for browsers: who may see it, over the listener of ``monocore dashboard``, and in a headless Chromium what people do with it."""

from __future__ import annotations

import hashlib
import json
import re
import socket as sockets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from attrs import frozen

from monocore_core.client.api import Api, target
from monocore_core.client.connection import exchange
from monocore_core.client.tables import inner, parse_table, tables, text
from monocore_core.errors import Unauthenticated
from monocore_core.server.dashboard import FILES
from tests.integration.browser import Page, browser_problem, browsing

pytestmark = pytest.mark.integration
STATIC = Path(__file__).parents[3] / "monocore_core/server/static"
#: Of the files that others made, as they are in @xterm/xterm 6.0.0 and @xterm/addon-fit 0.11.0.
VENDORED = {
    "xterm.mjs": "b336ec65a086c056d4804b3d4c2347da5663d3f23c3f25be866467bd8857ad59",
    "xterm.css": "854a7c0fb70e8b1a083c16797ab827299fb18744f5ad34f227b48337e33293c6",
    "addon-fit.mjs": "2d87e1bddc73be9111de8beee5370c3bb7aac9c94e18e6f245f02ca741ef1769",
}


@frozen
class Opened:
    """What ``monocore dashboard`` is told.

    Attributes:
        url: of the page.
        code: good once.
    """

    url: str
    code: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])

    def api(self, token: str = "") -> Api:
        """Over TCP, with a token or without."""
        headers = {"Host": f"127.0.0.1:{self.port}"} | ({"Authorization": f"Bearer {token}"} if token else {})
        return Api(lambda: sockets.create_connection(("127.0.0.1", self.port), 30), headers=headers)


@pytest.fixture
def opened(api: Api) -> Iterator[Opened]:
    with api.open("POST", target("dashboard"), {"port": 0}) as answer:
        said = parse_table(next(answer.lines()))
        yield Opened(text(said, "url"), text(said, "code"))


def test_a_code_is_good_once_and_its_pass_as_long_as_the_command(api: Api, sandbox: str) -> None:
    with api.open("POST", target("dashboard"), {"port": 0}) as answer:
        said = parse_table(next(answer.lines()))
        opened = Opened(text(said, "url"), text(said, "code"))
        with pytest.raises(Unauthenticated):
            opened.api().call("GET", target("sandboxes"))
        for wrong in ("", "x" * 43, opened.code[:-1] + "é"):
            with pytest.raises(Unauthenticated):
                opened.api().call("POST", "/dashboard/pass", {"code": wrong})
        token = text(opened.api().call("POST", "/dashboard/pass", {"code": opened.code}), "token")
        with pytest.raises(Unauthenticated):
            opened.api().call("POST", "/dashboard/pass", {"code": opened.code})
        names = {
            text(one, "name")
            for one in tables(opened.api(token).call("GET", target("sandboxes")), "sandboxes")
        }
        assert sandbox in names
        followed = sockets.create_connection(("127.0.0.1", opened.port), 30)
        with closing(followed):
            head = f"GET /v1/live HTTP/1.1\r\nHost: 127.0.0.1:{opened.port}\r\nAuthorization: Bearer {token}\r\n\r\n"
            followed.sendall(head.encode())
            assert followed.recv(12) == b"HTTP/1.1 200"
            answer.close()
            try:
                while followed.recv(1 << 16):  # until it is ended
                    pass
            except ConnectionResetError:
                pass
    with pytest.raises(OSError, match="refused"):
        sockets.create_connection(("127.0.0.1", opened.port), 30)
    with api.open("POST", target("dashboard"), {"port": opened.port}) as answer:
        again = Opened(text(parse_table(next(answer.lines())), "url"), "")
        with pytest.raises(Unauthenticated):
            again.api(token).call("GET", target("sandboxes"))


def test_its_files_are_answered_to_everybody_and_forbid_what_they_do_not_need(opened: Opened) -> None:
    for path in ("/dashboard", *(f"/dashboard/{name}" for name in FILES)):
        with opened.api().open("GET", path) as answer:
            data = answer.read(1 << 20)
            policy = answer.headers["content-security-policy"]
            tag = answer.headers["etag"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
        if "xterm" not in path and not path.endswith("svg"):
            assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", data), path
            assert b"innerHTML" not in data
        headers = {"Host": f"127.0.0.1:{opened.port}", "If-None-Match": tag}
        with exchange(opened.api().path, "GET", path, headers=headers, timeout=30.0) as answer:
            assert (answer.status, answer.read(10)) == (304, b"")
    headers = {"Host": "evil.example", "Origin": "http://evil.example"}
    with exchange(opened.api().path, "GET", "/dashboard", headers=headers, timeout=30.0) as answer:
        assert answer.status == 403


def test_the_terminal_is_as_its_authors_made_it() -> None:
    folder = STATIC / "vendor/xterm"
    for name, digest in VENDORED.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    for name in ("LICENSE", "LICENSE-addon-fit"):
        assert "Permission is hereby granted, free of charge" in (folder / name).read_text()


async def test_people_see_what_runs_and_use_a_terminal(
    api: Api, opened: Opened, sandbox: str, image: str, tmp_path: Path
) -> None:
    if (problem := browser_problem()) is not None:
        pytest.skip(problem)
    noise = "echo '<img src=x onerror=alert(1)>'; printf 'a\\033]8;;http://x\\007b\\033[31mc\\n' >&2; read x"
    order = {
        "sandbox": {"image": image, "name": "noisy"}, "command": {"args": ["sh", "-c", noise], "stdin": True},
    }  # fmt: skip
    api.call("POST", target("sandboxes"), order, timeout=300.0)
    (tmp_path / "profile").mkdir()
    async with browsing(tmp_path / "profile") as page:
        await page.look(width=1280, height=800, dark=False)
        await page.tell("Page.navigate", url=f"{opened.url}#code={opened.code}")
        await page.until(_tool("noisy", "Logs"))
        assert await page.run("location.hash") == ""
        await page.run(f"{_tool('noisy', 'Logs')}.click()")
        await page.until("document.querySelectorAll('.logs span').length == 2")
        shown = str(await page.run("document.querySelector('.logs').innerText"))
        assert "<img src=x onerror=alert(1)>\n" in shown
        assert "abc\n" in shown
        await _use_the_terminal(page, sandbox)
        await page.run(f"{_tool('noisy', 'Remove')}.click()")
        await page.click("dialog .danger")
        await page.until(f"!{_tool('noisy', 'Remove')}")
        for width, dark in ((390, True), (1280, True)):
            await page.look(width=width, height=800, dark=dark)
            assert await page.run("document.documentElement.scrollWidth <= innerWidth")
            assert len(await page.picture(tmp_path / f"{width}.png")) > 10_000
        await page.tell("Page.reload")  # the pass is good for this tab
        await page.until(_tool(sandbox, "Terminal"))
        await page.click("[title=Leave]")
        await page.until("document.querySelector('input[type=password]')")
        assert page.complaints == []
    left = tables(api.call("GET", target("sandboxes", all=True)), "sandboxes")
    assert "noisy" not in {text(one, "name") for one in left}


async def _use_the_terminal(page: Page, sandbox: str) -> None:
    await page.run(f"{_tool(sandbox, 'Terminal')}.click()")
    await page.until("document.querySelector('.panel header').textContent.includes('connected')")
    await page.type("echo $((6 * 7))th; tty")
    await page.press_enter()
    await page.until("/42th.*dev.pts/.test(document.querySelector('.xterm-rows').textContent)")
    await page.type("exit 3")
    await page.press_enter()
    await page.until("document.querySelector('.panel header').textContent.includes('code 3')")


def _tool(name: str, title: str) -> str:
    """An expression: the button of a sandbox's row."""
    row = f"[...document.querySelectorAll('tr')].find((row) => row.querySelector('strong')?.textContent === {json.dumps(name)})"
    return f"({row})?.querySelector('[title={title}]')"


def test_the_stream_tells_what_there_is_and_then_only_what_is_new(api: Api, sandbox: str) -> None:
    with api.open("GET", target("live")) as answer:
        lines = answer.lines()
        first = parse_table(next(lines))
        assert {"sandboxes", "images", "projects", "denied", "figures", "daemon", "access"} <= first.keys()
        assert sandbox in inner(inner(first, "figures"), text(tables(first, "sandboxes")[0], "id")).values()
        made = api.call("POST", target("sandboxes", start="0"), {"base": "alpine", "name": "unborn"})
        names: set[str] = set()
        while "unborn" not in names:
            news = parse_table(next(lines))
            assert "images" not in news
            names = {text(one, "name") for one in tables(news, "sandboxes")} if "sandboxes" in news else names
        api.call("DELETE", target("sandboxes", text(made, "id")))
