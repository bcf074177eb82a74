"""What runs, and with which environment: Docker's rules."""

from __future__ import annotations

import pytest

from monocore_core.command import DEFAULT_PATH, command_of, environment_of, parse_env_file
from monocore_core.errors import InvalidInput
from monocore_core.model.oci import ImageConfig, Platform

Words = tuple[str, ...]


def image(entrypoint: Words | None = None, cmd: Words | None = None, env: Words = ()) -> ImageConfig:
    return ImageConfig(Platform("linux", "amd64"), (), entrypoint=entrypoint, cmd=cmd, env=env)


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "override", "command", "expected"),
    [
        (None, ("sh",), None, (), ("sh",)),
        (None, ("sh",), None, ("ls", "-l"), ("ls", "-l")),
        (("e", "1"), ("c",), None, (), ("e", "1", "c")),
        (("e", "1"), ("c",), None, ("x",), ("e", "1", "x")),
        (("e",), None, None, (), ("e",)),
        (("e",), ("c",), ("o", "2"), (), ("o", "2")),
        (("e",), ("c",), ("o",), ("x",), ("o", "x")),
        (("e",), ("c",), ("",), ("x",), ("x",)),
        (("e",), ("c",), (), ("x",), ("x",)),
        (("",), ("c",), None, (), ("c",)),
        ((), ("c",), None, (), ("c",)),
        (("e",), ("c",), None, ("",), ("e", "")),
    ],
)
def test_entrypoint_and_command(
    entrypoint: Words | None, cmd: Words | None, override: Words | None, command: Words, expected: Words
) -> None:
    assert command_of(image(entrypoint, cmd), override, command) == expected


@pytest.mark.parametrize(
    ("config", "override", "command"),
    [
        (image(), None, ()),
        (image(("e",), ("c",)), ("",), ()),
        (image(), None, ("",)),
        (image(cmd=("a\0b",)), None, ()),
    ],
)
def test_nothing_to_run(config: ImageConfig, override: Words | None, command: Words) -> None:
    with pytest.raises(InvalidInput):
        command_of(config, override, command)


def test_environment() -> None:
    config = image(env=("A=1", "B=x=y", "PATH=/bin", "A=2", "broken", "=x"))
    assert environment_of(config, (), terminal=False, lookup={}) == ("A=2", "B=x=y", "PATH=/bin")
    assert environment_of(config, ("B=3", "C=", "B=4"), terminal=False, lookup={}) == (
        "A=2",
        "B=4",
        "PATH=/bin",
        "C=",
    )


def test_defaults_of_the_environment() -> None:
    assert environment_of(image(), (), terminal=False, lookup={"TERM": "vt100"}) == (f"PATH={DEFAULT_PATH}",)
    assert environment_of(image(), (), terminal=True, lookup={}) == (f"PATH={DEFAULT_PATH}", "TERM=xterm")
    assert environment_of(image(env=("TERM=dumb",)), (), terminal=True, lookup={})[0] == "TERM=dumb"
    assert environment_of(image(), ("TERM=vt220",), terminal=True, lookup={})[-1] == "TERM=vt220"


def test_names_alone_are_passed_on_or_taken_away() -> None:
    config = image(env=("A=1", "B=2", "PATH=/bin"))
    assert environment_of(config, ("A", "B", "C"), terminal=False, lookup={"A": "ours"}) == (
        "A=ours",
        "PATH=/bin",
    )


@pytest.mark.parametrize("override", ["", "=x", "A=\0", "A\0=x"])
def test_overrides_without_a_name_are_refused_without_their_value(override: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        environment_of(image(), (override,), terminal=False, lookup={})
    assert "x" not in caught.value.brief.removeprefix("environment variable").replace("\\x00", "")


def test_env_file() -> None:
    text = '\ufeffA=1\r\n\n  # comment\n  B= two words # kept \nC\nD=\nE="quoted"\n#F=1\n'
    assert parse_env_file(text, "f") == ("A=1", "B= two words # kept ", "C", "D=", 'E="quoted"')


@pytest.mark.parametrize("line", ["A B=secret", "=secret", "A =secret", "export A=secret"])
def test_wrong_lines_are_named_without_their_value(line: str) -> None:
    with pytest.raises(InvalidInput, match="vars, line 2") as caught:
        parse_env_file(f"OK=1\n{line}\n", "vars")
    assert "secret" not in caught.value.brief
