"""``monocore config``, ``monocore add service``, ``monocore remove service``: what they print, and what they leave on the disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monocore_core.cli import main as cli
from monocore_core.cli.arguments import Parser, add_globals
from monocore_core.cli.globals import Globals
from monocore_core.cli.services import add_project, members, project_of, services_file, this_host
from monocore_core.config.tables import document_schema
from monocore_core.errors import NotFound

TEXT = """\
project = "shop"
[backends]
vmm = "auto"

# the web
[[service]]
name = "web"
base = "nginx"
group = "front"
port = "80:80"
envs = ["TOKEN=abc", "USER=u"]

[[service]]
name = "debug"
base = "busybox"
profiles = ["dev"]

[[group]]
name = "front"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, and an environment that says nothing."""
    for name in [name for name in os.environ if name.startswith("MONOCORE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str = TEXT, name: str = "monocore.toml") -> Path:
    path = Path.cwd() / name
    path.write_text(text)
    path.chmod(0o640)
    return path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(words)
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_good_configuration_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    write()
    assert run(capsys, "config", "check") == (
        0,
        "monocore.toml: 1 service, 1 inactive, 1 group: nothing is wrong\n",
        "",
    )
    assert run(capsys, "config", "check", "--profile", "dev")[1] == (
        "monocore.toml: 2 services, 1 group: nothing is wrong\n"
    )
    assert run(capsys, "config", "check", "-q") == (0, "", "")


def test_profiles_come_from_the_environment_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write()
    monkeypatch.setenv("MONOCORE_PROFILES", "x, dev")
    assert "2 services" in run(capsys, "config", "check")[1]


def test_everything_wrong_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    write("".join(f"[[service]]\nname = 's{n}'\nbase = 'x'\ncpus = 0\n" for n in range(30)))
    status, out, error = run(capsys, "config", "check")
    assert (status, out) == (125, "")
    lines = error.splitlines()
    assert lines[0] == "monocore: error: monocore.toml: 30 problems"
    assert lines[1] == "  monocore.toml:4: service 's0': cpus: 0 is not from 1 to 255"
    assert len(lines) == 31


def test_what_only_plugins_know_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    path = write(
        "[plugins.nothing]\nx = 1\n[plugins.vmm_qemu]\nacel = 'tcg'\n"
        "[[service]]\nname = 'a'\nbase = 'oci-archive:a.tar'\n[[service]]\nname = 'b'\nbase = 'weird:a b'\n"
    )
    status, _, error = run(capsys, "config", "check")
    lines = [line.strip() for line in error.splitlines()]
    assert status == 125
    assert lines[0] == "monocore: error: 4 problems"
    assert lines[1].startswith(f"{path}: [plugins.nothing]: no plugin of that name is installed (installed: ")
    assert lines[2].endswith("[plugins.vmm_qemu]: acel: unknown key; did you mean 'accel'?")
    assert lines[3] == (
        "monocore.toml: service 'a': base: 'a.tar' is relative: write oci-archive:./a.tar, or an absolute path"
    )
    assert lines[4].startswith("monocore.toml: service 'b': base: ")


def test_warnings_are_said_and_change_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    write("[[service]]\nname = 'a'\nbase = 'x'\ncpus = 255\n")
    status, _, error = run(capsys, "config", "check")
    assert status == 0
    assert error == (
        "monocore: warning: monocore.toml:4: service 'a': 255 virtual processors are more than this machine has "
        f"({this_host().processors})\n"
    )


def test_what_is_shown_is_complete_and_has_no_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    write()
    status, out, _ = run(capsys, "config", "show", "--json")
    shown = json.loads(out)
    assert status == 0
    assert shown["project"] == "shop"
    assert shown["backends"]["network"] == "auto"
    assert [one["name"] for one in shown["service"]] == ["web"]
    assert shown["service"][0]["envs"] == ["TOKEN=********", "USER=u"]
    assert shown["service"][0]["port"] == ["127.0.0.1:80:80/tcp"]
    status, out, _ = run(capsys, "config", "show", "-g", "front")
    assert status == 0
    assert 'envs = ["TOKEN=********", "USER=u"]' in out.splitlines()
    assert run(capsys, "config", "show", "-g", "back")[2] == (
        "monocore: error: there is no group 'back' (groups: front)\n"
    )


def test_settings_are_shown_where_there_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "config", "show", "--json")
    assert (status, json.loads(out)["backends"]["vmm"]) == (0, "auto")
    status, _, error = run(capsys, "config", "check")
    assert (status, error) == (
        125,
        "monocore: error: there is no monocore.toml here\n  hint: name a file: -f FILE\n",
    )


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "config", "schema")
    assert (status, json.loads(out)) == (0, document_schema())


def test_a_service_is_added_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    path = write()
    words = ("-g", "front", "-p", "9000:90", "-v", "data:/d", "-e", "A=1", "--depends-on", "web", "--cpus", "2", "-m", "64m",
             "--restart", "always", "--set", "healthcheck.tcp=90", "--set", "stop_signal=INT")  # fmt: skip
    assert run(capsys, "add", "service", *words, "api", "alpine", "sleep", "-x") == (
        0,
        "monocore.toml: added service 'api'\n",
        "",
    )
    after = path.read_text()
    added = (
        '\n[[service]]\nname = "api"\nbase = "alpine"\ngroup = "front"\ncommand = ["sleep", "-x"]\ncpus = 2\nram = "64m"\n'
        'port = ["9000:90"]\nvolumes = ["data:/d"]\nenvs = ["A=1"]\ndepends_on = ["web"]\nrestart = "always"\nstop_signal = "INT"\n'
        "\n[service.healthcheck]\ntcp = 90\n"
    )
    assert after == TEXT.replace("\n[[group]]", f"{added}\n[[group]]")
    assert path.stat().st_mode & 0o777 == 0o640
    assert run(capsys, "config", "check")[0] == 0
    assert run(capsys, "remove", "service", "api", "debug")[0] == 0
    assert path.read_text() == TEXT.replace(
        '[[service]]\nname = "debug"\nbase = "busybox"\nprofiles = ["dev"]\n\n', ""
    )
    assert sorted(one.name for one in Path.cwd().iterdir()) == ["monocore.toml"]


def test_a_file_is_made_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "add", "service", "a", "alpine")[1] == "monocore.toml: added service 'a'\n"
    assert run(capsys, "add", "service", "-f", "other.toml", "b", "alpine")[0] == 0
    assert Path("monocore.toml").read_text() == '[[service]]\nname = "a"\nbase = "alpine"\n'
    assert Path("other.toml").read_text() == '[[service]]\nname = "b"\nbase = "alpine"\n'


def test_a_result_that_would_be_wrong_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    path = write()
    status, _, error = run(capsys, "add", "service", "-p", "127.0.0.1:80:80", "api", "alpine")
    assert (status, error) == (
        125,
        "monocore: error: monocore.toml:21: service 'api': port 80/tcp is published by service 'web', too\n",
    )
    run(capsys, "add", "service", "--depends-on", "web", "api", "alpine")
    before = path.read_text()
    status, _, error = run(capsys, "remove", "service", "web")
    assert status == 125
    assert "depends_on 'web', which is not defined (services: api, debug)" in error
    assert path.read_text() == before
    assert [one.name for one in Path.cwd().iterdir()] == ["monocore.toml"]


def test_a_link_stays_a_link(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    write(name="real/shop.toml")
    Path("monocore.toml").symlink_to("real/shop.toml")
    assert run(capsys, "add", "service", "api", "alpine")[0] == 0
    assert Path("monocore.toml").is_symlink()
    assert 'name = "api"' in Path("real/shop.toml").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("config",), "no command is given"),
        (("config", "chek"), "unknown command: config chek"),
        (("add",), "what to add is not said"),
        (("add", "service", "x"), "a name and an image are needed"),
        (("remove",), "there is no monocore.toml here"),
        (("remove", "service"), "missing argument: NAME"),
        (("config", "check", "-f", "no.toml"), "file no.toml does not exist"),
        (("add", "service", "--set", "name.x=1", "a", "b"), "--set 'name.x': 'name' is not a table"),
    ],
)
def test_words_that_make_no_sense(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, error = run(capsys, *words)
    assert status == 125
    assert error.startswith(f"monocore: error: {message}\n")


def test_a_named_file_has_the_settings_too() -> None:
    path = write(TEXT.replace('"auto"', '"vmm_x"'), "shop.toml")
    parser = Parser("x", "y")
    add_project(parser)
    add_globals(parser)
    options = Globals()
    parsed = parser.flags(["-f", "shop.toml", "-g", "front"], options)
    assert services_file(parsed, options) == Path("shop.toml")
    assert options.config == "shop.toml"
    project = project_of(parsed, options)
    assert project.source == path
    assert [one.name for one in members(project, parsed.group)] == ["web"]
    with pytest.raises(NotFound, match=r"there is no group 'x' \(groups: front\)"):
        members(project, "x")


def test_help_of_the_new_commands_loads_no_engine() -> None:
    code = (
        "import sys; from monocore_core.cli.main import main; main(['config', 'schema'])\n"
        "print(*sorted(sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(ended.stdout)["title"] == "monocore.toml"
    assert not set(ended.stderr.split()) & {"tomlkit", "cattrs", "aiohttp", "rich", "pluggy"}
