"""``monocore.toml``: what it says of services, where it says it, and the command line's edits of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import tomli

from monocore_core.config.edit import add_service, remove_service
from monocore_core.config.project import Reading, parse_project
from monocore_core.config.source import Lines, parse_text, refuse_files
from monocore_core.config.tree import Origin, Problems, tree_of
from monocore_core.notation.form import Json
from scripts.fuzz.target import Taken, Target, refusals

_READING = Reading(environ={"HOME": "/root", "A": "b"}, read_text=refuse_files)
_FRESH: dict[str, Json] = {"name": "fresh", "image": "alpine", "command": ["a"], "envs": {"A": "1"}}


def run(data: bytes) -> None:
    """A byte that says TOML or JSON, and the text."""
    taken = Taken(data)
    kind = taken.byte() % 4
    text = taken.rest().decode("utf-8", "replace")
    with refusals():
        raw, lines = parse_text(text, "x.json" if kind == 3 else "monocore.toml", "monocore.toml")
        origin, problems = Origin("monocore.toml", Path("/nowhere")), Problems()
        tree_of(raw, origin, problems, lines)
        if kind != 3:
            _lines(text, lines)
        parse_project(raw, _READING, folder=Path("/nowhere"), shown="monocore.toml")
    if kind == 1:
        with refusals():
            after = add_service(text, _FRESH, "monocore.toml")
            assert remove_service(after, "fresh", "monocore.toml") is not None
    if kind == 2:
        with refusals():
            remove_service(text, "web", "monocore.toml")


def _lines(text: str, lines: Lines) -> None:
    count = text.count("\n") + 1
    assert all(1 <= line <= count for line in lines.values())


def seeds() -> Iterator[bytes]:
    """A project, its parts, and every form of TOML."""
    example = Path(__file__).parents[3] / "examples/shop/monocore.toml"
    texts = [
        example.read_text(),
        "",
        'home = "/x"\n',
        '[project]\nname = "p"\n[[service]]\nname = "web"\nimage = "alpine"\n\n# c\n[[service]]\nname = "db"\nimage="b"\n',
        '[[services]]\nname = "web"\nimage = "a"\nenvs = { A = "1" }\nport = ["80:80", 9]\n[services.healthcheck]\ncommand = ["x"]\n',
        'a = """x\n"y" \\\n z"""\nb = \'\'\'q\n\'\'\'\nc = [1, # x\n 2,\n]\nd = {a.b = 1, "c" = [true]}\n',
        "d = 1979-05-27 07:32:00Z\ne = 0x1F\nf = 1e3\n'g h'.\"i\" = inf\n[j.k]\n[[j.l]]\n[[j.l]]\nm=1\n",
        '[[group]]\nname = "g"\n[[group.volumes]]\nname="v"\n',
        '[service.web]\nimage = "a"\n',
        "x = [" * 200,
        "a = " + "9" * 5000,
        '[[service]]\nname = "web"\nimage = "${A}"\ncommand = "${NOT:-x} ${HOME}"\nextends = "web"\n',
        '[[service]]\r\nname = "web"\r\nimage = "a"\r\n',
    ]
    for text in texts:
        for kind in range(3):
            yield bytes([kind]) + text.encode()
    table = tomli.loads(texts[0])
    yield b"\3" + json.dumps(table).encode()
    yield b'\3{"a":1,"a":2}'
    yield b"\3[1]"
    yield b"\3{"


TARGET = Target(
    "config",
    "monocore.toml",
    run,
    seeds,
    ("monocore_core.config.lines", "monocore_core.config.edit", "monocore_core.config.source"),
    aside=("read_text",),
    longest=4000,
)
