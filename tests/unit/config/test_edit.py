"""Editing leaves every line alone that it is not about."""

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from monocore_core.config.edit import add_service, remove_service
from monocore_core.errors import ConfigError, Conflict, NotFound

TEXT = '''\
# The shop.  Keep the order!

project = "shop"   # its name

# the web
# (two lines)
[[service]]
name = "web"
base = "nginx"
note = """
# no comment
[[service]]
"""
[service.labels]
tier = 'front'

# --- groups ---

# the group
[[group]]
name = "g"

[service.network]   # still the web's
policy = "none"

# the database
[[service]]
name = "db"
base = "postgres"
'''


def test_a_service_is_added_behind_the_others() -> None:
    after = add_service(TEXT, {"name": "cache", "base": "redis", "envs": ["A=1"], "labels": {"x": "y"}}, "f")
    assert after == TEXT + (
        '\n[[service]]\nname = "cache"\nbase = "redis"\nenvs = ["A=1"]\n\n[service.labels]\nx = "y"\n'
    )


def test_the_first_service_stands_behind_everything() -> None:
    assert add_service("", {"name": "a"}, "f") == '[[service]]\nname = "a"\n'
    assert add_service("x = 1", {"name": "a"}, "f") == 'x = 1\n\n[[service]]\nname = "a"\n'
    assert (
        add_service("[backends]\nvmm = 'x'\n", {"name": "a"}, "f")
        == "[backends]\nvmm = 'x'\n\n[[service]]\nname = \"a\"\n"
    )


def test_a_service_goes_with_its_tables_and_the_comment_above() -> None:
    assert remove_service(TEXT, "web", "f") == (
        '# The shop.  Keep the order!\n\nproject = "shop"   # its name\n\n# --- groups ---\n\n# the group\n[[group]]\nname = "g"\n\n'
        '# the database\n[[service]]\nname = "db"\nbase = "postgres"\n'
    )
    assert remove_service(TEXT, "db", "f") == TEXT[: TEXT.index("\n# the database")]


def test_the_comment_at_the_top_of_a_file_stays() -> None:
    assert remove_service('# licence\n[[service]]\nname = "a"\n\n[[group]]\nname = "g"\n', "a", "f") == (
        '# licence\n\n[[group]]\nname = "g"\n'
    )


def test_line_endings_stay() -> None:
    text = TEXT.replace("\n", "\r\n")
    after = add_service(text, {"name": "a"}, "f")
    assert after == text + '\r\n[[service]]\r\nname = "a"\r\n'
    assert remove_service(after, "a", "f") == text


def test_the_other_name_of_the_list_is_kept() -> None:
    text = '[[services]]\nname = "a"\n'
    after = add_service(text, {"name": "b"}, "f")
    assert after == '[[services]]\nname = "a"\n\n[[services]]\nname = "b"\n'
    assert remove_service(after, "b", "f") == text


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("x = ", ConfigError, "f is not valid TOML: Invalid value (at end of document)"),
        ("service = 3", ConfigError, "f: service is no list of tables"),
        ('[[service]]\nname = "a"', Conflict, "f has a service 'a' already"),
        (
            "service = [{ name = 'b' }]",
            ConfigError,
            "f cannot be edited: its services are written in another way than as [[service]] tables",
        ),
    ],
)
def test_what_cannot_be_added_to(text: str, kind: type[ConfigError], message: str) -> None:
    with pytest.raises(kind) as caught:
        add_service(text, {"name": "a"}, "f")
    assert caught.value.brief == message


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", NotFound, "f has no service 'a' (services: none)"),
        (
            "[[service]]\nname = 'b'\n[[service]]\nname = 'c'",
            NotFound,
            "f has no service 'a' (services: b, c)",
        ),
        (
            "service = [{ name = 'a' }, { name = 'b' }]",
            ConfigError,
            "f cannot be edited: its services are written in another way than as [[service]] tables",
        ),
    ],
)
def test_what_cannot_be_removed(text: str, kind: type[ConfigError], message: str) -> None:
    with pytest.raises(kind) as caught:
        remove_service(text, "a", "f")
    assert caught.value.brief == message


PIECES = st.sampled_from([
    "# c\n", "\n", "\n\n", "x = 1\n", "[t]\nk = '''\n# x\n'''\n", "[[group]]\nname = 'g'\n# end\n", "[[service]]\nname = '{}'\n",
    "[[service]]\nname = '{}' # c\nlist = [\n 1, # one\n]\n", "[service.labels]\na = 1\n", "[[service.secrets]]\nn = 1\n", "   # indented\n",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=10), st.integers(0, 4))
def test_edits_change_nothing_else(pieces: list[str], number: int) -> None:
    text = "".join(piece.format(f"s{position}") for position, piece in enumerate(pieces))
    try:
        before = tomli.loads(text)
    except tomli.TOMLDecodeError:
        return
    if not isinstance(before.get("service", []), list):
        return
    added = add_service(text, {"name": "new", "args": ["a"]}, "f")
    assert tomli.loads(added) == {
        **before,
        "service": [*before.get("service", []), {"name": "new", "args": ["a"]}],
    }
    kept = next(
        (place for place, pair in enumerate(zip(text, added, strict=False)) if len(set(pair)) > 1), len(text)
    )
    assert added.endswith(text[kept:])
    assert tomli.loads(remove_service(added, "new", "f")) == before
    names = [service["name"] for service in before.get("service", [])]
    if number < len(names):
        left = remove_service(text, names[number], "f")
        rest = [service for service in before["service"] if service["name"] != names[number]]
        assert tomli.loads(left).get("service", []) == rest
        assert set(left.splitlines()) <= set(text.splitlines())
