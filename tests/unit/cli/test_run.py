from pathlib import Path

import pytest

from monocore_core.cli.arguments import split_at_operand
from monocore_core.cli.globals import Globals
from monocore_core.cli.order import Order
from monocore_core.cli.ordering import order_of
from monocore_core.cli.run import build_parser
from monocore_core.errors import InvalidInput
from monocore_core.model.guest import Rlimit, TmpfsMount
from monocore_core.model.oci import Platform
from monocore_core.model.sandbox import CommandRequest, PullPolicy, SandboxRequest


def _order(*words: str, environ: dict[str, str] | None = None) -> Order:
    parser, actions = build_parser()
    flags, operands = split_at_operand(words, actions)
    return order_of(parser.flags(flags, Globals()), operands, environ or {})


def test_the_plainest_order() -> None:
    assert _order("alpine") == Order(SandboxRequest(image="alpine"), CommandRequest())


def test_everything_at_once(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("A=file\nB=file\n")
    order = _order(
        *(
            "-i",
            "--rm",
            "--name",
            "n",
            "--hostname=h",
            "-eA=flag",
            "-e",
            "C",
            "-e",
            "D",
            "--env-file",
            f"{tmp_path}/env",
        ),
        *(
            "-w",
            "/w",
            "-u",
            "1:2",
            "--entrypoint",
            "sh",
            "--cpus",
            "2",
            "-m1g",
            "--disk",
            "2g",
            "--read-only",
        ),
        *("--tmpfs", "/t:size=1m", "--ulimit", "nofile=1:2", "--timeout", "1m", "--pull=never", "-q"),
        *("--platform", "linux/arm64", "--timing", "--", "image", "-c", "--name", "x"),
        environ={"C": "here"},
    )
    assert order.sandbox == SandboxRequest(
        image="image",
        platform=Platform("linux", "arm64"),
        pull=PullPolicy.NEVER,
        name="n",
        hostname="h",
        vcpus=2,
        memory=2**30,
        disk=2**31,
        readonly=True,
        tmpfs=(TmpfsMount("/t", 2**20),),
    )
    assert order.command == CommandRequest(
        args=("-c", "--name", "x"),
        entrypoint=("sh",),
        env=("A=file", "B=file", "A=flag", "C=here"),
        cwd="/w",
        user="1:2",
        stdin=True,
        rlimits=(Rlimit("nofile", 1, 2),),
    )
    assert (order.timeout, order.quiet, order.timing, order.interactive) == (60, True, True, True)


def test_an_empty_entrypoint_removes_the_images() -> None:
    assert _order("--entrypoint", "", "x").command.entrypoint == ()
    assert _order("--entrypoint=", "x").command.entrypoint == ()
    assert _order("x").command.entrypoint is None


def test_a_terminal_has_a_size() -> None:
    order = _order("-it", "x")
    assert order.command.terminal is not None
    assert order.command.stdin


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "1m"),
        ("--cpus", "0"),
        ("--cpus", "9999"),
        ("--name", "-x"),
        ("--hostname", "a b"),
        ("--disk", "1k"),
        ("-e", "=x"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(words: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput):
        _order(*words, "image")
