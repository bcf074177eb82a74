"""Which daemon is meant, and the files that say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from monocore_core.client.contexts import Context, Contexts
from monocore_core.client.destination import destination
from monocore_core.client.trust import Trust
from monocore_core.client.urls import PORT, parse_url
from monocore_core.errors import ConfigError, Conflict, InvalidInput, NotFound, Unauthorized

LAB, ENV = "https://lab:1", "https://env:2"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    contexts = Contexts.of(environ)
    contexts.create(Context("lab", LAB, token="of-lab", tls=Trust(fingerprint="ab" * 32)))
    contexts.create(Context("bare", "https://bare:3"))
    return environ


@pytest.mark.parametrize(
    ("flags", "variables", "current", "expected"),
    [
        ({}, {}, "default", ""),
        ({}, {}, "lab", LAB),
        ({}, {"MONOCORE_CONTEXT": "bare"}, "lab", "https://bare:3"),
        ({}, {"MONOCORE_CONTEXT": "default"}, "lab", ""),
        ({}, {"MONOCORE_CONTEXT": "bare", "MONOCORE_HOST": ENV}, "lab", ENV),
        ({"host": "https://flag"}, {"MONOCORE_HOST": ENV}, "lab", f"https://flag:{PORT}"),
        ({"context": "lab"}, {"MONOCORE_HOST": ENV}, "bare", LAB),
        ({"context": "default"}, {"MONOCORE_HOST": ENV}, "lab", ""),
        ({"home": "/h"}, {"MONOCORE_HOST": ENV, "MONOCORE_CONTEXT": "bare"}, "lab", ""),
        ({"home": "/h", "context": "default"}, {}, "lab", ""),
        ({"host": "unix:///run/m.sock"}, {}, "default", "unix:///run/m.sock"),
    ],
)
def test_what_goes_before_what(
    environ: dict[str, str],
    flags: Mapping[str, str],
    variables: Mapping[str, str],
    current: str,
    expected: str,
) -> None:
    Contexts.of(environ).use(current)
    found = destination({**environ, **variables}, **flags)
    assert (str(found.url) if found is not None else "") == expected


@pytest.mark.parametrize(
    "flags",
    [
        {"host": LAB, "context": "lab"},
        {"home": "/h", "host": LAB},
        {"home": "/h", "context": "lab"},
        {"token_file": "/t"},
    ],
)
def test_flags_that_contradict_one_another(environ: dict[str, str], flags: Mapping[str, str]) -> None:
    with pytest.raises(InvalidInput):
        destination(environ, **flags)


def test_whose_token_goes_where(environ: dict[str, str], tmp_path: Path) -> None:
    """A context's own is for it alone; what the environment trusts is not for contexts."""
    (tmp_path / "t").write_text(" in-a-file\n")
    around = {**environ, "MONOCORE_TOKEN": "of-env", "MONOCORE_TLS_FINGERPRINT": "cd" * 32}
    for flags, token, fingerprint in (
        ({"context": "lab"}, "of-lab", "ab" * 32),
        ({"context": "lab", "token_file": str(tmp_path / "t")}, "in-a-file", "ab" * 32),
        ({"context": "bare"}, "of-env", ""),
        ({"host": ENV}, "of-env", "cd" * 32),
        ({"host": ENV, "token_file": str(tmp_path / "t")}, "in-a-file", "cd" * 32),
    ):
        found = destination(around, **flags)
        assert found is not None
        assert (found.token, found.tls.fingerprint) == (token, fingerprint), flags
    by_file = destination({**environ, "MONOCORE_TOKEN_FILE": str(tmp_path / "t")}, host=ENV)
    assert by_file is not None
    assert by_file.headers == {"Host": "env:2", "Authorization": "Bearer in-a-file"}


def test_a_token_is_not_shown_to_a_network(environ: dict[str, str]) -> None:
    around = {**environ, "MONOCORE_TOKEN": "secret"}
    with pytest.raises(Unauthorized) as refused:
        destination(around, host="http://lab:1")
    assert "secret" not in f"{refused.value} {refused.value.hint}"
    assert destination(around, host="http://127.0.0.1:1") is not None
    assert destination({**around, "MONOCORE_ALLOW_PLAIN_TEXT": "1"}, host="http://lab:1") is not None


@pytest.mark.parametrize("content", ["", "two words", "x" * 5000])
def test_a_file_that_holds_no_token(environ: dict[str, str], tmp_path: Path, content: str) -> None:
    (tmp_path / "t").write_text(content)
    with pytest.raises(InvalidInput):
        destination(environ, host=ENV, token_file=str(tmp_path / "t"))


@pytest.mark.parametrize("name", ["", "default", "../up", "a/b", ".hidden", "-flag", "x" * 64, "é"])
def test_names_of_contexts(environ: dict[str, str], name: str) -> None:
    with pytest.raises(InvalidInput):
        Contexts.of(environ).create(Context(name, LAB))


def test_the_life_of_a_context(environ: dict[str, str], tmp_path: Path) -> None:
    contexts = Contexts.of(environ)
    with pytest.raises(Conflict):
        contexts.create(Context("lab", "https://other:1"))
    contexts.create(Context("lab", "https://other:1"), replace=True)
    assert (contexts.get("lab").url, contexts.get("lab").token) == ("https://other:1", "")
    contexts.use("lab")
    with pytest.raises(Conflict):
        contexts.remove("lab")
    contexts.remove("lab", force=True)
    assert (contexts.current(), contexts.names()) == ("default", ["bare"])
    for act in (contexts.get, contexts.use, contexts.remove):
        with pytest.raises(NotFound):
            act("lab")
    assert {path.name for path in (tmp_path / "monocore").rglob("*")} == {"contexts", "bare.json"}


def test_a_context_that_others_can_read_or_that_is_none(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "monocore/contexts/lab.json"
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read"):
        Contexts.of(environ).get("lab")
    file.chmod(0o600)
    file.write_text("{")
    with pytest.raises(ConfigError, match="no context"):
        Contexts.of(environ).get("lab")
    file.unlink()
    file.symlink_to("bare.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        Contexts.of(environ).get("lab")


def test_a_url_that_has_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_url("https://me:s3cret@host")
    assert "s3cret" not in refused.value.brief
