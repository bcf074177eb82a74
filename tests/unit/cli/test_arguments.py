import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monocore_core.cli.arguments import (
    Parser,
    UsageError,
    Value,
    add_backends,
    add_globals,
    backend_overrides,
    split_at_operand,
)
from monocore_core.cli.globals import Globals
from monocore_core.cli.values import parse_size
from monocore_core.errors import InvalidInput


def _parser() -> tuple[Parser, list[argparse.Action]]:
    parser = Parser("monocore test", "A test.")
    return parser, [
        parser.add_argument("-i", "--interactive", action="store_true"),
        parser.add_argument("-t", "--tty", action="store_true"),
        parser.add_argument("-e", "--env", action="append"),
        parser.add_argument("-m", "--memory", action=Value, parse=parse_size, metavar="SIZE", help="RAM"),
        *add_backends(parser),
        *add_globals(parser),
    ]


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("IMAGE -it", 0),
        ("-it IMAGE -e x", 1),
        ("-e A=1 IMAGE -e x", 2),
        ("-eA=1 IMAGE", 1),
        ("-ite A=1 IMAGE", 2),
        ("-iteA IMAGE", 1),
        ("--env A IMAGE", 2),
        ("--env=A IMAGE", 1),
        ("--set a.b=c --vmm x IMAGE --debug", 4),
        ("-e -i IMAGE", 2),
        ("-i", 1),
        ("-e", 1),
        ("--debug - x", 1),
    ],
)
def test_flags_end_at_the_first_operand(words: str, flags: int) -> None:
    _, actions = _parser()
    given_words = words.split()
    assert split_at_operand(given_words, actions) == (given_words[:flags], given_words[flags:])


def test_a_double_dash_ends_the_flags_once() -> None:
    _, actions = _parser()
    assert split_at_operand(["-i", "--", "-x", "--", "y"], actions) == (["-i"], ["-x", "--", "y"])
    assert split_at_operand(["IMAGE", "--", "y"], actions) == ([], ["IMAGE", "--", "y"])


@given(st.lists(st.sampled_from(["-i", "-it", "-eX", "--env=Y", "--debug"])), st.lists(st.text(max_size=5)))
def test_nothing_after_the_image_is_ours(flags: list[str], rest: list[str]) -> None:
    _, actions = _parser()
    assert split_at_operand([*flags, "image", *rest], actions) == (flags, ["image", *rest])


def test_values_are_parsed_and_refusals_name_the_flag() -> None:
    parser, _ = _parser()
    assert parser.flags(["-m", "1g"], Globals()).memory == 2**30
    with pytest.raises(InvalidInput) as caught:
        parser.flags(["--memory", "much"], Globals())
    assert caught.value.brief == "--memory: 'much' is not a size"
    assert caught.value.hint is not None


@pytest.mark.parametrize(
    ("words", "brief", "hint"),
    [
        (["--memry", "1g"], "unknown flag: --memry", "did you mean --memory?"),
        (["--mem", "1g"], "unknown flag: --mem", "did you mean --memory?"),
        (["-x"], "unknown flag: -x", "'monocore test --help'"),
        (["-m"], "-m/--memory: expected one argument", "--help"),
        (["word"], "unexpected word: word", "--help"),
    ],
)
def test_usage_errors(words: list[str], brief: str, hint: str) -> None:
    parser, _ = _parser()
    with pytest.raises(UsageError) as caught:
        parser.flags(words, Globals())
    assert caught.value.brief == brief
    assert hint in str(caught.value.hint)


def test_shared_flags_are_collected_from_both_sides() -> None:
    parser, _ = _parser()
    options = Globals()
    options.home = "/before"
    parser.flags(["--debug"], options)
    assert (options.debug, options.home) == (True, "/before")
    parser.flags(["--home", "/after"], options)
    assert (options.debug, options.home) == (True, "/after")


def test_backends_become_settings() -> None:
    parser, _ = _parser()
    parsed = parser.flags(
        ["--vmm", "a", "--merger=b", "--set", "plugins.x.y=1", "--set", "home=/h"], Globals()
    )
    assert backend_overrides(parsed) == {
        "backends.vmm": "a",
        "backends.layer_merger": "b",
        "plugins.x.y": "1",
        "home": "/h",
    }


def test_help_shows_a_flag_and_its_value_once() -> None:
    assert "-m, --memory SIZE" in _parser()[0].format_help()
